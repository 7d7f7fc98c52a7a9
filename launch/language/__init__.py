"""What a language model needs: model, evaluation, tables."""
