"""The generator of llmatic-tiny's training data: seeded, endless, and needing no outside text."""
