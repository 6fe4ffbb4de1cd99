"""The rules between the API and the engines: defaults, batches of prompts, best_of, usage."""
