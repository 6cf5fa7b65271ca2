"""The RDAP client `rdap` finds its servers by the world's own bootstrap files and reads what is registered."""

import json
import sys

import rdap
import requests
from rdap.exceptions import RdapNotFoundError

told = json.loads(sys.argv[1])


def services(kind):
    found = requests.get(f"{told['bootstrap']}{kind}.json", timeout=10).json()
    assert found["version"] == "1.0" and found["services"], found
    return found["services"]


def server(kind, fits):
    for entries, urls in services(kind):
        if any(fits(entry) for entry in entries):
            return next(url for url in urls if url.startswith("https://"))
    raise AssertionError(f"no server in {kind}: {services(kind)}")


tld = told["domain"].rsplit(".", 1)[1]
base = server("dns", lambda entry: entry == tld)
client = rdap.RdapClient({"bootstrap_url": base, "recurse_roles": [], "timeout": 10})
domain = client.get_domain(told["domain"])
assert domain.data["objectClassName"] == "domain" and domain.data["ldhName"].lower() == told["domain"], domain.data
assert any("registrant" in entity["roles"] for entity in domain.data["entities"]), domain.data
assert {event["eventAction"] for event in domain.data["events"]} >= {"registration"}, domain.data
assert "rdap_level_0" in domain.data["rdapConformance"], domain.data

network_base = server("ipv4", lambda entry: entry == told["network"])
client.url = network_base.rstrip("/")
network = client.get_ip(told["address"])
assert network.data["objectClassName"] == "ip network" and network.data["ipVersion"] == "v4", network.data

client.url = base.rstrip("/")
entity = client.get_entity(told["organization"])
assert entity.data["objectClassName"] == "entity" and entity.handle == told["organization"], entity.data
for absent in (lambda: client.get_domain("nothing." + tld), lambda: client.get_entity("nobody")):
    try:
        absent()
        raise AssertionError("something was found")
    except RdapNotFoundError:
        pass

# What the library has no word for (RFC 9082, sections 3.1.4 and 3.1.6).
for path, expected in (("nameserver/" + told["nameserver"], "nameserver"), ("help", None)):
    reply = requests.get(base.rstrip("/") + "/" + path, timeout=10)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("application/rdap+json"), reply.text
    assert reply.json().get("objectClassName") == expected, reply.text
print("all done")
