"""Pages for people. They use nothing but the public API."""
