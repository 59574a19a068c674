"""Words that slots are filled with again and again."""

GIVEN = """Ada Agnes Albin Alma Anders Anselm Aurel Beata Benno Berta Bruno Carla Casimir Cecily Clemens Cosima
Dagny Darius Edda Edmund Elias Elsa Emeric Erna Esther Fabian Felix Flora Frida Gideon Gisela Greta Gustav Hanna
Hedda Henrik Hugo Ida Ignaz Ilse Irma Ivo Jakob Johanna Jonas Josefa Judith Julius Klara Konrad Lambert Laura Lena
Leopold Linus Lotte Lucian Magda Marius Martha Mathis Mirjam Moritz Nadia Nils Nora Oskar Otto Paula Petra Quirin
Rahel Ralf Regina Robert Rosa Rufus Sabina Selma Simon Sofia Stella Tamara Theo Tilda Tobias Ulla Ursula Valentin
Vera Viktor Walter Wanda Xaver Yvonne Zeno""".split()

SURNAMES = """Abendroth Achterberg Bellweather Birkholz Brandeis Calloway Castellan Dorning Ellwanger Fairbrook
Fenwick Garland Greenhalgh Haverkamp Hollister Ibbotson Jessop Kallweit Kingsmill Lindqvist Lovelace Marchbanks
Merriwether Nightingale Oberlin Ostrander Pemberton Pettigrew Quillfeather Ravensworth Rosenthal Sandoval
Silverman Stillwater Thackeray Tannenbaum Underwood Vandermeer Wainwright Westerholt Wildgruber Yardley
Zimmerling Ashdown Blackwood Coppersmith Draycott Eastlake Farnsworth Goldschmidt""".split()

REGIONS = """Upper Carvelia|the Sarn Valley|Old Mereland|the Tamber Coast|Eastern Ostravia|the Lune Highlands|Korrin|
the Isle of Brae|the Vesper Plain|Northern Gallowmere|the Dun Marches|Lower Istria Vale|the Hallow Fens|Ponterra|
the Skerry Islands|Western Aldmoor|the Brennick Hills|Solvany|the Grey Uplands|Marn and Tolley""".replace("\n", "").split("|")

NATIONS = """Brennish Carvelian Dunnish Gallish Korrinese Merelandic Pontic Sarnish Solvanian Tamberite Tolleyan
Vesperine""".split()

TRADES = """wool|salt|copper|glass|paper|amber|barley|cheese|clocks|felt hats|fishing nets|flax|honey|ink|lace|
leather|linen|oak barrels|pewter|pottery|printed cloth|rope|saffron|silver thread|slate|soap|tin|tobacco|walnuts|wax|
whale oil|wine|wooden toys|woven baskets""".replace("\n", "").split("|")

THINGS = """black swans|blue thistles|bronze bells|a buried road|carved bones|church organs|a comet|early maps|
fossil ferns|garden walls|glass beads|a hidden spring|horse bridles|hunting horns|an iron crown|lost letters|
marsh orchids|meteor stones|old windmills|painted doors|puppet plays|rain gauges|river pearls|salt caves|silver coins|
snow foxes|stone circles|sundials|tree rings|a white stag|wild apples|wooden locks""".replace("\n", "").split("|")

PROFESSIONS = """astronomer botanist bookbinder cartographer chemist clockmaker composer geologist glassblower
historian judge linguist painter physician poet printer sculptor surgeon surveyor weaver""".split()

MONTHS = """January February March April May June July August September October November December""".split()
