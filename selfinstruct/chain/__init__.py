"""The five stages in order, and rounds of them."""
