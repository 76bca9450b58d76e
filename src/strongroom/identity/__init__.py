"""Who asks: key pairs of callers, the requests that they sign, and what people sign in with."""
