//! Snapshots: periodic files that hold every row as of one Lsn.
