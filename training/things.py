"""What the demonstration model can name: the things it has seen, each with its emoji.

Chosen to look different from one another at a sixth of the picture's side. The vocabulary of the model is
made from these words, so adding one means training again.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    singular: str
    plural: str
    emoji: str

    @property
    def drawing(self) -> str:
        """File name of its drawing in `training/drawings`."""
        return self.singular.replace(" ", "_") + ".png"

    @property
    def article(self) -> str:
        return "an" if self.singular[0] in "aeiou" else "a"


def _read(table: str) -> tuple[Thing, ...]:
    things = []
    for line in table.strip().splitlines():
        emoji, singular, *plural = (cell.strip() for cell in line.split("|"))
        things.append(Thing(singular, plural[0] if plural else singular + "s", emoji))
    return tuple(things)


# emoji | singular | plural where it is not singular + "s"
THINGS = _read("""
🐕 | dog
🐈 | cat
🐎 | horse
🐄 | cow
🐖 | pig
🐘 | elephant
🦒 | giraffe
🦓 | zebra
🦁 | lion
🐅 | tiger
🐼 | panda
🐒 | monkey
🐇 | rabbit
🐸 | frog
🐢 | turtle
🐍 | snake
🐊 | crocodile
🐋 | whale
🐬 | dolphin
🐙 | octopus | octopuses
🦀 | crab
🐌 | snail
🦋 | butterfly | butterflies
🐝 | bee
🐞 | ladybug
🕷️ | spider
🦆 | duck
🦉 | owl
🐧 | penguin
🐓 | rooster
🦜 | parrot
🦩 | flamingo
🐫 | camel
🦘 | kangaroo
🦔 | hedgehog
🧸 | teddy bear
🐨 | koala
🦚 | peacock
🐑 | sheep | sheep
🐟 | fish | fish
🐦 | bird
🍎 | apple
🍌 | banana
🍊 | orange
🍐 | pear
🍋 | lemon
🍉 | watermelon
🍓 | strawberry | strawberries
🍍 | pineapple
🥑 | avocado
🥕 | carrot
🍄 | mushroom
🍕 | pizza
🍔 | hamburger
🌭 | hot dog
🥪 | sandwich | sandwiches
🌮 | taco
🍩 | donut
🎂 | birthday cake
🍦 | ice cream
🥐 | croissant
🥨 | pretzel
🚲 | bicycle
🚗 | car
🚌 | bus | buses
🚚 | truck
🚒 | fire engine
🚓 | police car
🏍️ | motorcycle
🛴 | scooter
✈️ | airplane
🚁 | helicopter
🚀 | rocket
⛵ | sailboat
🚂 | train
🚜 | tractor
🪑 | chair
🛏️ | bed
⏰ | alarm clock
☂️ | umbrella
🎸 | guitar
🎺 | trumpet
🥁 | drum
🎹 | piano
📕 | book
💻 | laptop
☎️ | telephone
📷 | camera
📺 | television
🔑 | key
🔨 | hammer
🎈 | balloon
🪁 | kite
⚽ | soccer ball
🏀 | basketball
🏈 | football
🛹 | skateboard
🚦 | traffic light
🛑 | stop sign
🧯 | fire extinguisher
💡 | light bulb
🎒 | backpack
👜 | handbag
👑 | crown
👢 | boot
👕 | shirt
👒 | hat
👗 | dress | dresses
🌳 | tree
🌴 | palm tree
🌵 | cactus | cactuses
🎄 | christmas tree
🌹 | rose
🌻 | sunflower
🏠 | house
🏰 | castle
⛺ | tent
🎡 | ferris wheel
⛄ | snowman | snowmen
🎃 | pumpkin
🤖 | robot
👻 | ghost
🚽 | toilet
🛒 | shopping cart
📫 | mailbox | mailboxes
⚓ | anchor
🏆 | trophy | trophies
🔔 | bell
🧹 | broom
""")
