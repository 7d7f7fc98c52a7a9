"""Networks around any `hk.RNNCore`."""
