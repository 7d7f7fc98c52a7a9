"""Language models: evaluation and samples."""
