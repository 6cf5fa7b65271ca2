//! A world's name service: zones in one store, authoritative answers, transfers, updates, signing, resolver.
