"""The one room that knows TRL: configuration, trainer, and a run from a recipe to its directory."""
