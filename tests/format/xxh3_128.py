"""XXH3-128 (seed 0, the algorithm's own secret) in plain Python, some MB/s: for checking small files without a library."""

import struct

MASK = (1 << 64) - 1
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
STRIPE, STRIPES_A_BLOCK = 64, (len(SECRET) - 64) // 8


def word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 8], "little")


def half(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 4], "little")


def fold(left: int, right: int) -> int:
    product = left * right
    return (product & MASK) ^ (product >> 64)


def avalanche(value: int) -> int:
    value ^= value >> 37
    value = value * 0x165667919E3779F9 & MASK
    return value ^ value >> 32


def avalanche_64(value: int) -> int:
    value ^= value >> 33
    value = value * P64_2 & MASK
    value ^= value >> 29
    value = value * P64_3 & MASK
    return value ^ value >> 32


def swapped(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def up_to_3(data: bytes) -> tuple[int, int]:
    size = len(data)
    low = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
    turned = swapped(low, 4)
    high = (turned << 13 | turned >> 19) & 0xFFFFFFFF
    return (avalanche_64(low ^ half(SECRET, 0) ^ half(SECRET, 4)), avalanche_64(high ^ half(SECRET, 8) ^ half(SECRET, 12)))


def up_to_8(data: bytes) -> tuple[int, int]:
    size = len(data)
    value = half(data, 0) | half(data, size - 4) << 32
    product = (value ^ word(SECRET, 16) ^ word(SECRET, 24)) * (P64_1 + (size << 2) & MASK)
    low, high = product & MASK, product >> 64
    high = high + (low << 1) & MASK
    low ^= high >> 3
    low ^= low >> 35
    low = low * 0x9FB21C651E98DF25 & MASK
    return low ^ low >> 28, avalanche(high)


def up_to_16(data: bytes) -> tuple[int, int]:
    size = len(data)
    first, last = word(data, 0), word(data, size - 8)
    product = (first ^ last ^ word(SECRET, 32) ^ word(SECRET, 40)) * P64_1
    low, high = product & MASK, product >> 64
    low = low + (size - 1 << 54) & MASK
    last ^= word(SECRET, 48) ^ word(SECRET, 56)
    high = high + last + (last & 0xFFFFFFFF) * (P32_2 - 1) & MASK
    low ^= swapped(high, 8)
    product = low * P64_2
    return avalanche(product & MASK), avalanche((product >> 64) + high * P64_2 & MASK)


def mix(data: bytes, at: int, key: int) -> int:
    return fold(word(data, at) ^ word(SECRET, key), word(data, at + 8) ^ word(SECRET, key + 8))


def mixed(sums: tuple[int, int], data: bytes, one: int, other: int, key: int) -> tuple[int, int]:
    low, high = sums
    low = (low + mix(data, one, key) & MASK) ^ (word(data, other) + word(data, other + 8) & MASK)
    high = (high + mix(data, other, key + 16) & MASK) ^ (word(data, one) + word(data, one + 8) & MASK)
    return low, high


def finished(low: int, high: int, size: int) -> tuple[int, int]:
    return (avalanche(low + high & MASK), -avalanche(low * P64_1 + high * P64_4 + size * P64_2 & MASK) & MASK)


def up_to_128(data: bytes) -> tuple[int, int]:
    size = len(data)
    sums = size * P64_1 & MASK, 0
    for step in range((size - 1) // 32, -1, -1):
        sums = mixed(sums, data, 16 * step, size - 16 * (step + 1), 32 * step)
    return finished(*sums, size)


def up_to_240(data: bytes) -> tuple[int, int]:
    size = len(data)
    sums = size * P64_1 & MASK, 0
    for at in range(0, 128, 32):
        sums = mixed(sums, data, at, at + 16, at)
    sums = avalanche(sums[0]), avalanche(sums[1])
    for at in range(128, size - 31, 32):
        sums = mixed(sums, data, at, at + 16, at - 128 + 3)
    return finished(*mixed(sums, data, size - 16, size - 32, 136 - 17 - 16), size)


def merged(sums: list[int], key: int, start: int) -> int:
    for pair in range(4):
        start += fold(sums[2 * pair] ^ word(SECRET, key + 16 * pair), sums[2 * pair + 1] ^ word(SECRET, key + 16 * pair + 8))
    return avalanche(start & MASK)


def longer(data: bytes) -> tuple[int, int]:
    size = len(data)
    sums = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    keys = [struct.unpack_from("<8Q", SECRET, 8 * stripe) for stripe in range(STRIPES_A_BLOCK)]
    last_key = struct.unpack_from("<8Q", SECRET, len(SECRET) - STRIPE)

    def add(at: int, key: tuple[int, ...]) -> None:
        for lane, value in enumerate(struct.unpack_from("<8Q", data, at)):
            keyed = value ^ key[lane]
            sums[lane ^ 1] = sums[lane ^ 1] + value & MASK
            sums[lane] = sums[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK

    for stripe in range((size - 1) // STRIPE):
        add(STRIPE * stripe, keys[stripe % STRIPES_A_BLOCK])
        if (stripe + 1) % STRIPES_A_BLOCK == 0:
            sums = [((value ^ value >> 47) ^ key) * P32_1 & MASK for value, key in zip(sums, last_key)]
    add(size - STRIPE, struct.unpack_from("<8Q", SECRET, len(SECRET) - STRIPE - 7))
    return (merged(sums, 11, size * P64_1 & MASK), merged(sums, len(SECRET) - STRIPE - 11, ~(size * P64_2) & MASK))


def xxh3_128(data: bytes) -> bytes:
    """The digest in its canonical form: 16 bytes, big-endian."""
    size = len(data)
    if size == 0:
        low, high = (avalanche_64(word(SECRET, at) ^ word(SECRET, at + 8)) for at in (64, 80))
    else:
        by_size = ((3, up_to_3), (8, up_to_8), (16, up_to_16), (128, up_to_128), (240, up_to_240))
        low, high = next((make for limit, make in by_size if size <= limit), longer)(data)
    return (high << 64 | low).to_bytes(16, "big")
