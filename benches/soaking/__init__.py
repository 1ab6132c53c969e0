"""What `benches/soak` is made of."""
