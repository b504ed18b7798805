//! Bytes on the shadow.
