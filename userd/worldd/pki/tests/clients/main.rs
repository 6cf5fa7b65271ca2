//! Other people's ACME clients, unmodified, against the server: each gets, renews and revokes by every challenge it
//! supports. Needs root (namespaces), iproute2, util-linux, openssl, curl, python3, lego, dehydrated, uacme, and certbot
//! (from `NETENGINE_CERTBOT`, else from PATH).

mod certbot;
mod dehydrated;
mod dns;
mod lego;
mod served;
mod uacme;
mod world;
