"""Who asks: key pairs of callers, and the requests that they sign."""
