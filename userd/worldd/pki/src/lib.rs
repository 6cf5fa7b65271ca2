//! A world's certificate authority and its ACME server.
