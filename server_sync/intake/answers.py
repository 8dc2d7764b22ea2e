"""Replies to messages: few and full ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server_sync.intake.decide import Reply
from sync_protocol import codec, topics
from sync_protocol import messages as m


def answers(replies: Iterable[tuple[str, Reply]]) -> Iterator[tuple[str, bytes]]:
    """Topic and bytes of the messages that tell each device its replies, the latest per sample."""
    latest: dict[tuple[str, str], Reply] = {}
    for device, reply in replies:
        latest[device, reply.sample_id] = reply
    by_device: dict[str, list[Reply]] = {}
    for (device, _), reply in latest.items():
        by_device.setdefault(device, []).append(reply)
    for device, all_replies in by_device.items():
        ends = [reply for reply in all_replies if isinstance(reply, m.Settlement)]
        asks = [reply for reply in all_replies if isinstance(reply, m.Answer)]
        for start in range(0, len(ends), m.OFFER_MAX_SAMPLES):
            receipt = m.Receipt(settlements=tuple(ends[start : start + m.OFFER_MAX_SAMPLES]))
            yield topics.build(device, topics.Kind.RECEIPT), codec.encode(receipt)
        for start in range(0, len(asks), m.OFFER_MAX_SAMPLES):
            wanted = m.Want(answers=tuple(asks[start : start + m.OFFER_MAX_SAMPLES]))
            yield topics.build(device, topics.Kind.WANT), codec.encode(wanted)
