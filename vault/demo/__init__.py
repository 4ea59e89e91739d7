"""`mvault demo`: the whole story on real models in a temporary folder."""
