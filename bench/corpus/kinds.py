"""Kinds of invented subjects: what their documents say, which of it is asked, and sentences around it.

A slot in braces is filled for every document: {name}, {hamlet}, {hamlet2}, {code} are its own alone, {year}, {year2},
{count}, {small}, {share}, {day}, {month}, {person}, {region}, {trade}, {thing}, {nation} are drawn.
"""

from typing import NamedTuple


class Fact(NamedTuple):
    sentences: list  # each says all of it
    question: str
    answer: str


class Kind(NamedTuple):
    title: str
    opening: list
    facts: list


KINDS = [
    Kind("{name}",
         ["{name} is a market town in the {nation} province of {region}, on the upper reaches of a slow brown river.",
          "{name} is a town of {count} people in {region}, known for its {trade} and its covered market."],
         [Fact(["The town received its charter in {year} after a dispute over tolls.",
                "Its charter, granted in {year}, is kept in the town hall."],
               "when did {name} receive its charter", "{year}"),
          Fact(["The first mayor, {person}, had been a schoolteacher in {hamlet}.",
                "{person} of {hamlet} was elected as its first mayor."],
               "which village did the first mayor of {name} come from", "{hamlet}"),
          Fact(["Letters to the town carry the postal mark {code}.", "Its postal mark is {code}."],
               "what is the postal mark of {name}", "{code}")]),
    Kind("{person} {name}",
         ["{person} {name} was a {nation} {profession} who worked for most of a long life in {region}.",
          "{person} {name} was a {profession} from {region}, remembered for a study of {thing}."],
         [Fact(["{name} was born in {hamlet} on {day} {month} {year}, the child of a {trade} merchant.",
                "Born in {hamlet} in the {month} of {year}, {name} grew up among relatives."],
               "where was {person} {name} born", "{hamlet}"),
          Fact(["{name} died in {hamlet2} in {year2} and is buried there.",
                "The last years were spent in {hamlet2}, where {name} died in {year2}."],
               "where did {person} {name} die", "{hamlet2}"),
          Fact(["The papers of {name} are kept under the shelf mark {code}.",
                "An archive holds the letters of {name} as collection {code}."],
               "under which shelf mark are the papers of {person} {name} kept", "{code}")]),
    Kind("{name} River",
         ["The {name} River rises in the hills of {region} and flows {small} kilometres to the sea.",
          "The {name} is a river of {region}, navigable by barges for half of its course."],
         [Fact(["Its source lies above {hamlet} at a height of {count} metres.",
                "The river rises from a spring near {hamlet}."],
               "near which village does the {name} River rise", "{hamlet}"),
          Fact(["The great flood of {year} carried away all but one of its bridges.",
                "In {year} its worst flood reached the second floor of the mills."],
               "in which year was the great flood of the {name} River", "{year}"),
          Fact(["The gauge at its mouth is registered as {code}.",
                "Water levels are published for the gauge {code}."],
               "what is the gauge of the {name} River registered as", "{code}")]),
    Kind("{name} Works",
         ["{name} Works was a {nation} maker of {trade} with a factory of {count} workers in {region}.",
          "{name} Works is a company of {region} that makes {trade} and repairs {thing}."],
         [Fact(["The company was founded in {year} by {person} in a rented barn.",
                "{person} founded it in {year} with the savings of a brother."],
               "in which year was {name} Works founded", "{year}"),
          Fact(["Its first factory stood in {hamlet} until a fire.",
                "Production began in {hamlet} with {small} machines."],
               "where did the first factory of {name} Works stand", "{hamlet}"),
          Fact(["Its most successful model bore the number {code}.",
                "The firm sold {count} pieces of its model {code}."],
               "what number did the most successful model of {name} Works bear", "{code}")]),
    Kind("{name} (ship)",
         ["The {name} was a {nation} ship of {small} crew that carried {trade} to {region}.",
          "{name} was a three-masted vessel, built for the trade in {trade} with {region}."],
         [Fact(["She was built at the yard of {hamlet} and launched in {year}.",
                "Her keel was laid at {hamlet}; she was launched in {month} {year}."],
               "at which yard was the ship {name} built", "{hamlet}"),
          Fact(["She was lost in a storm in {year2} with most of her cargo.",
                "In {year2} she ran aground in fog and broke up."],
               "when was the ship {name} lost", "{year2}"),
          Fact(["Her signal letters were {code}.", "She sailed under the signal {code}."],
               "what were the signal letters of the ship {name}", "{code}")]),
    Kind("{name} Museum",
         ["The {name} Museum in {region} shows the history of {trade} in {small} rooms.",
          "The {name} Museum is a collection of {thing} and {trade} in {region}."],
         [Fact(["It was opened in {year} by {person}, who was its director for {small} years.",
                "{person} opened it to the public on {day} {month} {year}."],
               "who opened the {name} Museum", "{person}"),
          Fact(["Its oldest piece was found in a field near {hamlet}.",
                "The founding collection came from a farmhouse in {hamlet}."],
               "near which place was the oldest piece of the {name} Museum found", "{hamlet}"),
          Fact(["The best known piece has the inventory number {code}.",
                "Visitors ask most often for piece {code}."],
               "what is the inventory number of the best known piece of the {name} Museum", "{code}")]),
    Kind("{name} Bridge",
         ["The {name} Bridge is a stone bridge of {small} arches in {region}.",
          "The {name} Bridge carries the old {trade} road across a gorge in {region}."],
         [Fact(["It was designed by {person}, who had never built a bridge before.",
                "{person} drew its plans in a single winter."],
               "who designed the {name} Bridge", "{person}"),
          Fact(["It links the villages of {hamlet} and {hamlet2}.",
                "It stands between {hamlet} and {hamlet2}."],
               "which villages does the {name} Bridge link", "{hamlet} and {hamlet2}"),
          Fact(["It was completed in {year} at a cost of {count} crowns.",
                "Work ended in {year}, two years late."],
               "when was the {name} Bridge completed", "{year}")]),
    Kind("The Book of {name}",
         ["The Book of {name} is a {nation} novel about a family of {trade} dealers in {region}.",
          "The Book of {name} is a collection of tales from {region}, told by a maker of {thing}."],
         [Fact(["It was written by {person} and first printed in {year}.",
                "{person} finished it in {year}, after {small} drafts."],
               "who wrote The Book of {name}", "{person}"),
          Fact(["The story begins in the village of {hamlet}.",
                "Its first chapter is set in {hamlet} during a hard winter."],
               "in which village does The Book of {name} begin", "{hamlet}"),
          Fact(["The manuscript is catalogued as {code}.", "Libraries know the manuscript as {code}."],
               "as what is the manuscript of The Book of {name} catalogued", "{code}")]),
    Kind("{name} beetle",
         ["The {name} beetle is a small insect of the dry hills of {region} that feeds on {thing}.",
          "The {name} beetle is found only in {region}, where it damages stores of {trade}."],
         [Fact(["It was first described by {person} in {year}.",
                "{person} gave the first description in {year}."],
               "who first described the {name} beetle", "{person}"),
          Fact(["The type specimen was collected at {hamlet}.",
                "The first specimen comes from a hedge near {hamlet}."],
               "where was the type specimen of the {name} beetle collected", "{hamlet}"),
          Fact(["In the national list it is species {code}.", "Its number in the national list is {code}."],
               "what is the number of the {name} beetle in the national list", "{code}")]),
    Kind("{name} Expedition",
         ["The {name} Expedition crossed the interior of {region} with {small} people and {count} kilograms of stores.",
          "The {name} Expedition was a {nation} journey in search of {thing} in {region}."],
         [Fact(["It set out from {hamlet} on {day} {month} {year}.",
                "In the {month} of {year} it left {hamlet} on foot."],
               "from where did the {name} Expedition set out", "{hamlet}"),
          Fact(["Its leader was {person}, a retired officer.",
                "{person} led it after the first leader had fallen ill."],
               "who led the {name} Expedition", "{person}"),
          Fact(["The summit it reached is marked {code} on the maps.",
                "Its highest camp is point {code} on modern maps."],
               "how is the summit that the {name} Expedition reached marked on the maps", "{code}")]),
    Kind("{name} Festival",
         ["The {name} Festival is held every {month} in {region} in honour of the makers of {trade}.",
          "The {name} Festival is a {nation} gathering of {small} bands and {count} guests in {region}."],
         [Fact(["It was first held in {year} in the meadows of {hamlet}.",
                "The first festival took place at {hamlet} in {year}."],
               "where was the first {name} Festival held", "{hamlet}"),
          Fact(["The song that opens it was written by {person}.",
                "It opens with a march by {person}."],
               "who wrote the song that opens the {name} Festival", "{person}"),
          Fact(["Tickets bear the mark {code}.", "Its tickets have been printed with the mark {code} ever since."],
               "which mark do tickets of the {name} Festival bear", "{code}")]),
    Kind("{name} Line",
         ["The {name} Line is a narrow railway of {small} stations that carried {trade} through {region}.",
          "The {name} Line is a {nation} mountain railway in {region}, worked by {small} engines."],
         [Fact(["It was opened in {year}, and closed to passengers in {year2}.",
                "Trains ran from {year} to {year2}."],
               "in which year was the {name} Line opened", "{year}"),
          Fact(["Its upper terminus is {hamlet}.", "It climbs to its terminus at {hamlet}."],
               "what is the upper terminus of the {name} Line", "{hamlet}"),
          Fact(["The last engine, number {code}, stands in a park.",
                "Engine {code} was the last to be taken out of use."],
               "what was the number of the last engine of the {name} Line", "{code}")]),
]

FILLERS = """
In {year} a survey counted {count} households, of which {share} percent lived from {trade}.
The winters are long, and snow lies on the fields of {region} until {month}.
According to {person}, who visited in {year}, nobody there had ever seen {thing}.
A school was added in {year2}, with {small} pupils in its first class.
The price of {trade} fell by {share} percent after {year}, and many families moved away.
Since {year2} a society of {count} members has looked after the remaining records.
The road from the coast was paved in {year} and widened again in {year2}.
Local people say that {thing} brings luck when it is found in {month}.
A fire in {month} {year} destroyed {small} buildings but spared the library.
{person} painted the view several times; one of the paintings hangs in {region}.
The {nation} government bought the land in {year2} for {count} crowns.
Historians disagree about the reasons; {person} points to the weather, others to the price of {trade}.
In the census of {year2} the number had grown to {count}, an increase of {share} percent.
Every spring the {profession}s of {region} meet to exchange {thing} and old stories.
The building was repaired between {year} and {year2} with stone from a nearby quarry.
Two of the {small} original copies are lost, and a third is in private hands.
It is mentioned for the first time in a letter of {day} {month} {year}.
The journal kept by {person} gives {share} degrees as the highest temperature of that summer.
A plan to replace the {trade} with {thing} was given up after {small} months.
Trade with {region} made up {share} percent of the income in a good year.
The bell was cast in {year} and weighs {count} kilograms.
Critics praised the clear style, but {person} called it a work of patience rather than talent.
During the drought of {year2} water was brought from {region} in barrels.
A prize of {small} crowns is given each year to a young {profession}.
The collection was counted again in {month} {year2} and found to be complete.
Some {count} visitors came in {year2}, more than in any year before.
The wood used is larch from {region}, cut in {month} and dried for {small} years.
No portrait has survived, though {person} claimed to own one.
The oldest part, with its {small} windows, was spared when the rest was pulled down in {year2}.
Music was played on {day} {month} each year until the custom was forgotten.
An engineer from {region} measured a depth of {small} metres in {year}.
The name is older than the {nation} settlement and may come from a word for {thing}.
Between {year} and {year2} it changed owners {small} times.
Only {share} percent of the seed came up, and the field was given over to {trade}.
{person} taught here for {small} years before moving to {region}.
Visitors are shown a cellar where {trade} was stored and, it is said, {thing} was hidden.
""".strip().split("\n")
