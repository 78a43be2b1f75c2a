"""Encoder, decoder and pooling as tensors: no text, no files but the weights."""
