//! A world's OpenID provider: realms, clients, tokens, login pages.
