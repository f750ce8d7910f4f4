//! The store: sorted runs in, rows out.
