"""The sections of benches/run, in its order: each measures one thing and reports it."""
