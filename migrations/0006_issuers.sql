-- The OpenID issuers of a world with their public keys, as its worldd told: JSON. Federated worlds may accept their tokens.
ALTER TABLE worlds ADD COLUMN issuers TEXT;
