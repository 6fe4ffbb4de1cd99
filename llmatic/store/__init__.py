"""What outlives the server: a database and a place for blobs. Speaks SQL here and nowhere else."""
