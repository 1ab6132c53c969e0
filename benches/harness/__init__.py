"""What the sections of benches/run have in common."""
