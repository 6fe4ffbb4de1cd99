"""What all encoders have in common, whichever library computes: inputs, batching, the engine's threads."""
