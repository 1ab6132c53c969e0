//! What the provider does, asked over its socket.
