//! The rules of settings files, one fault at a time.
