import gzip
import random
import zlib

import pytest

from eventmesh.http.limits.inflate import FREE_BYTES, MAX_RATIO, Inflater, TooDense, Undecodable

TEXT = b"".join(b'{"id":%d,"name":"n%d"},' % (n, n * n) for n in range(20_000))
SMALL = b"x" * FREE_BYTES


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODERS = {"gzip": gzip.compress, "zlib": zlib.compress, "raw": raw_deflate}


def inflate(coding, data, step):
    inflater = Inflater(coding)
    inflated = b"".join(inflater.feed(data[at : at + step]) for at in range(0, len(data), step))
    inflater.finish()
    return inflated


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("step", [1, 100, 65536, 10_000_000])
def test_bodies_of_any_size_in_pieces_of_any_size(coder, step):
    coding = "gzip" if coder == "gzip" else "deflate"
    for data in (b"", b"x", SMALL, TEXT, random.Random(1).randbytes(100_000)):
        assert inflate(coding, CODERS[coder](data), step) == data


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("step", [1, 1000, 10_000_000])
def test_a_bomb_is_refused_before_it_is_large(coder, step):
    bomb = CODERS[coder](bytes(10_000_000))
    assert len(bomb) < 12_000
    inflater = Inflater("gzip" if coder == "gzip" else "deflate")
    written = []

    def feed():
        pieces = (bomb[at : at + step] for at in range(0, len(bomb), step))
        written.extend(len(inflater.feed(piece)) for piece in pieces)

    with pytest.raises(TooDense):
        feed()
    assert sum(written) <= max(FREE_BYTES, MAX_RATIO * len(bomb))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_bytes_behind_the_end_are_refused(step):
    with pytest.raises(Undecodable):
        inflate("gzip", gzip.compress(b"one") + gzip.compress(b"two"), step)


def test_a_thousand_members_cost_nothing():
    with pytest.raises(Undecodable):
        inflate("gzip", gzip.compress(b"") * 100_000, 65536)


@pytest.mark.parametrize("coder", CODERS)
def test_a_body_whose_end_is_missing_is_refused(coder):
    coding = "gzip" if coder == "gzip" else "deflate"
    with pytest.raises(Undecodable):
        inflate(coding, CODERS[coder](TEXT)[:-1], 1000)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_of_the_coding_is_refused(coding):
    with pytest.raises(Undecodable):
        inflate(coding, b"this is no gzip, and no deflate", 1000)


def test_nothing_is_an_empty_body():
    Inflater("gzip").finish()
