"""cinevox: which network, which layer, which regressor predicts this piece of visual cortex."""

__version__ = "0.1.0"
