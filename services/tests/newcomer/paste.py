"""A newcomer: pastes what the README says, puts in the ids of the answers, and waits for the mails; so does who pastes what the shop says."""

import email
import email.policy
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from shop import ALL, Shop

PORTS = {
    "8080": "user", "50051": "product", "50052": "order", "50053": "payment", "8082": "shipping", "8083": "notification",
    "50054": "recommendation",
}
# How the README calls the ids, and the fields of the answers that have them.
IDS = {"ID": "id", "ORDER": "orderId"}
MAILS = 3


def commands(text, prompt):
    """What follows the prompt, of the calls by curl."""
    pasted = [line.removeprefix(prompt) for line in text.splitlines() if line.startswith(f"{prompt}curl --json ")]
    assert len(pasted) >= 5, f"expected the commands of a purchase, found {pasted}"
    return pasted


def paste(command, at, ids):
    """Runs a command as a shell would, and keeps the ids of its answer."""
    for port, service in PORTS.items():
        command = command.replace(f"localhost:{port}/", f"{at[service]}/")
    for name, value in ids.items():
        command = command.replace(f'"{name}"', f'"{value}"')
    command = command.replace("curl ", "curl --silent --show-error ", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    answer = json.loads(done.stdout)
    assert "reason" not in answer and "code" not in answer, f"{command}: {answer}"
    for name, field in IDS.items():
        if field in answer:
            ids[name] = answer[field]
    return answer


def mails(directory):
    """The mails that lie there, once there are as many as a parcel on its way has."""
    for _ in range(3000):
        found = [path for path in pathlib.Path(directory).rglob("*") if path.is_file() and not path.name.startswith(".")]
        if len(found) >= MAILS:
            return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in found]
        time.sleep(0.01)
    raise AssertionError(f"expected {MAILS} mails, found {found}")


def purchase(onrush, data_dir, pasted):
    """Pastes commands into a shop that just began; looks at the mails and at what they can be read up in."""
    with Shop(onrush, data_dir, ALL) as shop:
        ids, answers = {}, []
        for command in pasted or commands(shop.banner, "    "):
            answers.append(paste(command, shop.at, ids))
        paid = [answer for answer in answers if answer.get("orderStatus") == "ORDER_STATUS_PAID"]
        assert paid, answers
        found = mails(f"{data_dir}/mail")
        for mail in found:
            assert mail["To"] == "ada@example.com" and ids["ORDER"] in mail["Subject"], mail.items()
        for service in ALL:
            # What /docs shows is ours, down to the last script.
            docs = f"http://{shop.at[service]}/docs/"
            linked = re.findall(r'(?:src|href)="([^"]+)"', urllib.request.urlopen(docs, timeout=20).read().decode())
            assert linked and not [link for link in linked if "//" in link], f"{service}: {linked}"
            for link in linked:
                assert urllib.request.urlopen(urllib.parse.urljoin(docs, link), timeout=20).read(), link
    return f"{len(answers)} commands, {len({mail['Subject'] for mail in found})} mails"


def main(onrush, work, readme):
    with open(readme) as text:
        pasted = commands(text.read(), "$ ")
    print("pasted the README:", purchase(onrush, f"{work}/readme", pasted))
    print("pasted what the shop says at its start:", purchase(onrush, f"{work}/banner", None))


main(sys.argv[1], sys.argv[2], sys.argv[3])
