"""Text corpora: from files to batches of word ids."""
