"""How the answers of each generator of reasoning-gym are compared, and whether they can be voted on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Generator:
    """What is known of one generator's answers.

    Attributes:
        equivalence: when two of them are the same: a name that `mgrpo.answers.get_equivalence` takes.
        example: a right answer, or the beginning of one.
        votable: whether a majority means something. Where one prompt has many right answers, a vote over them counts
            spellings of one plan, and a pseudo-label punishes the others.
        is_checked: whether an answer that is not equivalent to the gold answer can be right; a checker then decides.
        note: what else a user should know.
    """

    equivalence: str
    example: str
    votable: bool = True
    is_checked: bool = False
    note: str = ""


def _plans(equivalence: str, example: str, note: str = "many right answers") -> Generator:
    return Generator(equivalence, example, votable=False, is_checked=True, note=note)


GENERATORS: dict[str, Generator] = {
    "ab": Generator("list", "#B #A A# A#"),
    "acre": Generator("words", "undetermined"),
    "advanced_geometry": Generator("list", "(-2.486, -10.622)", is_checked=True, note="rounding is allowed for"),
    "aiw": Generator("number", "3"),
    "arc_1d": Generator("list", "0 0 3 3 0"),
    "arc_agi": Generator("grid", r"1 6 6\n1 8 6", note="prompts of up to 17,000 characters"),
    "base_conversion": Generator("words", "4d2"),
    "basic_arithmetic": Generator("number", "-6"),
    "bf": Generator("words", "cheer"),
    "binary_alternation": Generator("number", "7"),
    "binary_matrix": Generator("grid", r"0 1\n1 2"),
    "bitwise_arithmetic": Generator("words", "-0x9216c4fc"),
    "boxnet": _plans("text", '[{"Agent[0.5, 0.5]": "move(box_red, target_red)"}]', "many right plans; no gold answer"),
    "caesar_cipher": Generator("words", "WILL DINE WITH ME"),
    "calendar_arithmetic": Generator("words", "Wednesday"),
    "chain_sum": Generator("number", "-100"),
    "circuit_logic": Generator("number", "1"),
    "codeio": _plans(
        "list",
        '{"year": 1920}',
        "many inputs give one output; input_prediction_probability: 1 asks for outputs alone (its name says the "
        "opposite), which can be voted on. Making items runs programs that come with reasoning-gym",
    ),
    "coin_flip": Generator("number", "0.24609375", is_checked=True, note="right within 0.0001; 260 prompts in all"),
    "color_cube_rotation": Generator("words", "brown"),
    "complex_arithmetic": Generator("math", "-11.0 + 3.0i"),
    "composite": Generator("text", "", votable=False, note="refused: its generators compare answers differently"),
    "count_bits": Generator("number", "15"),
    "count_primes": Generator("number", "334"),
    "countdown": _plans("text", "94*2 - 39 + 48 - 25"),
    "course_schedule": Generator("words", "True"),
    "cryptarithm": _plans("assignments", "B=9,C=8,O=0", "most have several right answers"),
    "decimal_arithmetic": Generator(
        "number", "-3.97625766940", is_checked=True, note="right within 10^-max_num_decimal_places"
    ),
    "decimal_chain_sum": Generator("number", "7.5657"),
    "dice": Generator("number", "23/60"),
    "emoji_mystery": Generator("words", "I shall depend on your being here."),
    "family_relationships": Generator("words", "mother-in-law"),
    "figlet_font": Generator("words", "HABITAT"),
    "fraction_simplification": Generator("list", r"$\frac{427}{751}$", note="2/4 is not 1/2: the task is to simplify"),
    "futoshiki": Generator("grid", r"3 > 1   4   2\n        ∨    ", note="slow: 3 items a second"),
    "game_of_life": Generator("grid", "[[0,1],[1,0]]"),
    "game_of_life_halting": Generator("words", "True"),
    "gcd": Generator("number", "6"),
    "graph_color": _plans("assignments", '{"0": 1, "1": 2}', "many right answers; no gold answer"),
    "group_anagrams": Generator("set", '[["baht", "bath"], ["bases", "sabes"]]'),
    "gsm_symbolic": Generator("number", "120"),
    "intermediate_integration": Generator(
        "math",
        "-cos(4*x + 10)**5/5 + C",
        is_checked=True,
        note="right answers may differ by more than their spelling, and one gold answer in ten is left as an Integral",
    ),
    "isomorphic_strings": Generator("words", "False"),
    "jugs": _plans("list", '["fill A", "pour A->B"]', "many right answers; 800 prompts in all"),
    "kakurasu": Generator("grid", r"1 0 1 0\n0 0 0 1"),
    "knight_swap": _plans("list", '["w,A2,C3", "B,C1,B3"]', "many right answers; slow: 5 items a second"),
    "knights_knaves": Generator("assignments", "William is an egoist, and Sofia is an altruist."),
    "largest_island": Generator("number", "4"),
    "lcm": Generator("number", "94"),
    "leg_counting": Generator("number", "219"),
    "letter_counting": Generator("number", "1"),
    "letter_jumble": Generator("words", "of the railroads of the olden time"),
    "list_functions": Generator("list", "[38, 66, 1]"),
    "mahjong_puzzle": Generator("words", "Peng"),
    "manipulate_matrix": Generator("grid", r"6 5\n5 1"),
    "maze": Generator("number", "9"),
    "mini_sudoku": Generator("grid", r"3 1 2 4\n2 4 1 3"),
    "modulo_grid": Generator("grid", r"❌✅\n✅❌"),
    "n_queens": _plans("grid", r"_ Q _ _\n_ _ _ Q", "one in three has several right answers"),
    "needle_haystack": Generator("words", "Mohammad-Bilal"),
    "number_filtering": Generator("list", "['46.54', '71.0']"),
    "number_format": Generator("number", "732685551.4020001"),
    "number_sequence": Generator("number", "-130"),
    "number_sorting": Generator("list", "['74.8', '71.0', '-29.02']"),
    "palindrome_generation": _plans("words", "tvuwgwuvt"),
    "palindrome_partitioning": Generator("set", '[["a", "d", "a"], ["ada"]]'),
    "path_star": Generator("list", "18094 60489 88096"),
    "polynomial_equations": Generator("set", "-0.7292, 0.0"),
    "polynomial_multiplication": Generator("sum", "5264*y**5 - 4424*y**4", note="only expanded products are compared"),
    "pool_matrix": Generator("grid", r"3.75 6.0\n3.5 2.5", is_checked=True, note="right within one in a hundred"),
    "power_function": Generator("number", "-8.52e-14", is_checked=True, note="right in three significant figures"),
    "prime_factorization": Generator("set", "2 × 2 × 107", note="1000 prompts in all"),
    "products": Generator("number", "35"),
    "propositional_logic": _plans("text", "(P ∨ Q)", "many right answers; no gold answer"),
    "puzzle24": _plans("text", "3*(10 + 7 - 9)"),
    "quantum_lock": _plans("list", "C → A → A", "several shortest answers"),
    "ransom_note": Generator("words", "True"),
    "rearc": Generator("grid", r"3 3 0\n3 0 3"),
    "rectangle_count": Generator("number", "7"),
    "rotate_matrix": Generator("grid", r"3 5\n8 4"),
    "rotten_oranges": Generator("number", "-1"),
    "rubiks_cube": _plans("text", "U R' F", "many right answers; no gold answer"),
    "rush_hour": _plans("text", "F+1 K+1 M-1", "many right answers; no gold answer"),
    "self_reference": Generator("number", "2"),
    "sentence_reordering": Generator("words", "Smith, you will dine with me."),
    "shortest_path": _plans("list", "up up left", "one in five has several shortest paths"),
    "simple_equations": Generator("number", "34"),
    "simple_geometry": Generator("number", "152"),
    "simple_integration": Generator("math", "3*x**10/10 - 2*x**2 + C", is_checked=True),
    "sokoban": _plans("text", "LLURRD"),
    "spell_backward": Generator("words", "ycagelerp"),
    "spiral_matrix": Generator("list", "3 1 1 0 4 5"),
    "string_insertion": Generator("words", "DDABCCCEEDC"),
    "string_manipulation": Generator("words", "cabbabcb"),
    "string_splitting": Generator("list", "0 1 0 5 0 3", note="216 prompts in all"),
    "string_synthesis": Generator("list", "0 2 0 0 0 3 0 0 0", note="216 prompts in all"),
    "sudoku": Generator("grid", r"8 5 4 9 1 2 3 6 7\n2 6 3 4 8 7 1 9 5"),
    "survo": Generator(
        "grid", r"1 5 6 12\n5 7 3 15", note="one in a hundred has several right answers, of which one counts"
    ),
    "syllogism": Generator("words", "Yes"),
    "time_intervals": Generator("words", "86 days, 18:20:44"),
    "tower_of_hanoi": _plans(
        "words",
        "Move disk 1 from Peg 2 to Peg 1",
        "several shortest answers; max_pegs: 3 has one, and can be voted on. 90 prompts in all",
    ),
    "tsumego": Generator("words", "J12", note="one in ten has several captures, of which one counts"),
    "word_ladder": _plans("list", "PURR,PURE,PARE,PART"),
    "word_sequence_reversal": Generator("list", "ASCII, betokened, but"),
    "word_sorting": Generator("list", "AGREEMENT, anywhere, order"),
    "zebra_puzzles": Generator("words", "arnold"),
}
"""The generators of reasoning-gym 0.1.25, by name."""
