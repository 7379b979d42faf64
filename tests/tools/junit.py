#!/usr/bin/env python3
"""What a JUnit report says: "GOOD BAD", or with --failed the tests that failed, one a line."""
import sys
import xml.etree.ElementTree as tree


def failed_tests(cases):
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            yield case.get("classname").replace(".", "/") + ".py::" + case.get("name")


def main(arguments):
    try:
        cases = list(tree.parse(arguments[-1]).getroot().iter("testcase"))
    except (OSError, tree.ParseError):
        cases = None
    if arguments[0] == "--failed":
        print(*sorted(set(failed_tests(cases or []))), sep="\n")
    elif not cases:
        print(0, 1)  # no report, or nothing ran: that is a failure
    else:
        bad = len(set(failed_tests(cases)))
        print(len({(c.get("classname"), c.get("name")) for c in cases}) - bad, bad)


if __name__ == "__main__":
    main(sys.argv[1:])
