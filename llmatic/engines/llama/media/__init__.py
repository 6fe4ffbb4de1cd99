"""Pictures and sounds in a prompt: decoded, encoded by the model's projector, kept as rows of embeddings."""
