"""Loading models, working with shards of them, and checking that their weights are finite."""
