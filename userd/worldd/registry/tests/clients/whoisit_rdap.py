"""Reads the bootstrap files of a world's RDAP server and finds every kind of object by them, with whoisit."""

import json
import sys
import time
import urllib.request

import whoisit
from whoisit.errors import ResourceDoesNotExist

base = sys.argv[1]


def fetch(path):
    with urllib.request.urlopen(f"{base}/{path}", timeout=10) as answer:
        return json.load(answer)


def wants(what, told, expected):
    if told != expected:
        sys.exit(f"{what}: {told!r} instead of {expected!r}")


data = {name: fetch(f"{name}.json") for name in ("asn", "dns", "ipv4", "ipv6")}
# The registry of object tags (RFC 8521) is about many registries; a world has one.
data["object"] = {"services": [[["registry@world"], ["WORLD"], [f"{base}/"]]]}
data["timestamp"] = int(time.time())
whoisit.load_bootstrap_data(json.dumps(data), allow_insecure=True)

domain = whoisit.domain("acme.corp")
wants("domain", domain["name"].lower(), "acme.corp")
wants("name servers", [name.lower() for name in domain["nameservers"]], ["ns.corp"])
wants("registrant", domain["entities"]["registrant"][0]["handle"].lower(), "acme-corp")
wants("status", domain["status"], ["active"])
wants("whois server", domain["whois_server"], "whois.platform.internal")
wants("expiry after registration", domain["expiration_date"] > domain["registration_date"], True)

network = whoisit.ip("44.20.0.7")
wants("network", str(network["network"]), "44.20.0.0/24")
wants("name of the network", network["name"].lower(), "acme-hq")
wants("parent", network["parent_handle"], "44.20.0.0/16")

autnum = whoisit.asn(4200000000)
wants("autonomous system", autnum["name"].lower(), "acme-hq")
wants("its registrant", autnum["entities"]["registrant"][0]["handle"].lower(), "acme-corp")

try:
    sys.exit(f"none.corp: {whoisit.domain('none.corp')}")
except ResourceDoesNotExist:
    pass
print("all done")
