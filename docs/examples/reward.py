"""A reward of one's own, for `--scorer-command 'python3 docs/examples/reward.py'`.

Reads {"prompt": ..., "response": ...}, one a line, and answers each with a line: how many more words of praise than of
blame the response has, per ten words.
"""

import json
import re
import sys

PRAISE = set(
    """amazing beautiful beautifully best brilliant charming delightful enjoy enjoyed enjoyable excellent fantastic
    favorite fun funny gem good great happy hilarious impressive love loved lovely masterpiece memorable moving perfect
    perfectly recommend superb sweet terrific touching wonderful wonderfully worth""".split()
)
BLAME = set(
    """annoying awful bad badly boring cheap cliche disappointed disappointing disappointment dreadful dull fails hate
    hated horrible lame mess pathetic pointless poor poorly predictable ridiculous sad silly stupid terrible tedious
    unfortunately waste wasted weak worse worst wrong""".split()
)


def score(response: str) -> float:
    words = re.findall(r"[a-z']+", response.lower())
    balance = sum((word in PRAISE) - (word in BLAME) for word in words)
    return 10 * balance / max(len(words), 10)


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"score": score(request["response"])}), flush=True)
