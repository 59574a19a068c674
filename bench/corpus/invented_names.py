"""Names and codes that no two documents share: document n's are a one-to-one function of n."""

FIRST = """al an ar bal bel ber bor bran cal cam cor dal dar del dor dun el fal fen gal gar gor hal har hel
hol is jar kal kel kor lan lor mal mar mel mor nal nor ol or pal pel per ral ran rod sal san sel sor tal
tar tel tor ul val ven ver vol wal war wen yar zel""".split()
MIDDLE = """a abi adu ami ana ari avo e eda eli ema eri eva i ica ido ili ina iri ivo o oda oli ona ori ovi
u uda uli una uri uvo ya yel yor""".split()
LAST = """bach bert brand burn dale dan den dor dran fall field fold ford gard garth gate grad grave hall
ham hart heim holt horn kirk land leigh len lin lock mark mere mond mont mouth nach nell ness nor pool
quist rath rick ridge rock sand sett shaw side stad stein ster strom thal thorpe ton vale vik ville ward
water well wood worth""".split()
HAMLET_ENDINGS = ["by Fell", "Crossing", "End", "Green", "in the Reeds", "Hollow", "Mill", "Oak"]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

NUM_NAMES = len(FIRST) * len(MIDDLE) * len(LAST)


def _shuffled(n, count, step):
    """n in [0, count) to another such number, one to one; `step` is prime and no factor of count."""
    return (n * step + step // 3) % count


def name(n):
    """One of NUM_NAMES names."""
    n = _shuffled(n, NUM_NAMES, 100_003)
    n, last = divmod(n, len(LAST))
    first, middle = divmod(n, len(MIDDLE))
    return (FIRST[first] + MIDDLE[middle] + LAST[last]).capitalize()


def hamlet(n):
    """A small place: no title, and in one document alone."""
    count = NUM_NAMES * len(HAMLET_ENDINGS)
    n, ending = divmod(_shuffled(n, count, 1_000_003), len(HAMLET_ENDINGS))
    n, last = divmod(n, len(FIRST))
    first, middle = divmod(n, len(MIDDLE))
    return f"{LAST[first].capitalize()}{MIDDLE[middle]}{FIRST[last]} {HAMLET_ENDINGS[ending]}"


def code(n):
    """As "KX-4821-Q"."""
    count = len(LETTERS) ** 3 * 9_000
    n, digits = divmod(_shuffled(n, count, 15_485_863), 9_000)
    n, third = divmod(n, len(LETTERS))
    first, second = divmod(n, len(LETTERS))
    return f"{LETTERS[first]}{LETTERS[second]}-{1_000 + digits}-{LETTERS[third]}"
