"""Recipes: YAML files, the fields they may set, and the data they name."""
