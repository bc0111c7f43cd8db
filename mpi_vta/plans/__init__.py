"""Plans as values: who runs what, which resources there are, how long a message takes. Traces may import them."""
