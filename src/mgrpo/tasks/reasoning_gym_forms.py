"""How the answers of each generator of reasoning-gym are compared, and whether they can be voted on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
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


def _plans(equivalence: str, example: str, note: str = "many right answers") -> Form:
    return Form(equivalence, example, votable=False, is_checked=True, note=note)


FORMS: dict[str, Form] = {
    "ab": Form("list", "#B #A A# A#"),
    "acre": Form("words", "undetermined"),
    "advanced_geometry": Form("list", "(-2.486, -10.622)", is_checked=True, note="rounding is allowed for"),
    "aiw": Form("number", "3"),
    "arc_1d": Form("list", "0 0 3 3 0"),
    "arc_agi": Form("grid", r"1 6 6\n1 8 6", note="prompts of up to 17,000 characters"),
    "base_conversion": Form("words", "4d2"),
    "basic_arithmetic": Form("number", "-6"),
    "bf": Form("words", "cheer"),
    "binary_alternation": Form("number", "7"),
    "binary_matrix": Form("grid", r"0 1\n1 2"),
    "bitwise_arithmetic": Form("words", "-0x9216c4fc"),
    "boxnet": _plans("text", '[{"Agent[0.5, 0.5]": "move(box_red, target_red)"}]', "many right plans; no gold answer"),
    "caesar_cipher": Form("words", "WILL DINE WITH ME"),
    "calendar_arithmetic": Form("words", "Wednesday"),
    "chain_sum": Form("number", "-100"),
    "circuit_logic": Form("number", "1"),
    "codeio": _plans(
        "list",
        '{"year": 1920}',
        "many inputs give one output; input_prediction_probability: 1 asks for outputs alone (its name says the "
        "opposite), which can be voted on. Making items runs programs that come with reasoning-gym",
    ),
    "coin_flip": Form("number", "0.24609375", is_checked=True, note="right within 0.0001; 260 prompts in all"),
    "color_cube_rotation": Form("words", "brown"),
    "complex_arithmetic": Form("math", "-11.0 + 3.0i"),
    "composite": Form("text", "", votable=False, note="refused: its generators' answers are compared differently"),
    "count_bits": Form("number", "15"),
    "count_primes": Form("number", "334"),
    "countdown": _plans("text", "94*2 - 39 + 48 - 25"),
    "course_schedule": Form("words", "True"),
    "cryptarithm": _plans("assignments", "B=9,C=8,O=0", "most have several right answers"),
    "decimal_arithmetic": Form(
        "number", "-3.97625766940", is_checked=True, note="right within 10^-max_num_decimal_places"
    ),
    "decimal_chain_sum": Form("number", "7.5657"),
    "dice": Form("number", "23/60"),
    "emoji_mystery": Form("words", "I shall depend on your being here."),
    "family_relationships": Form("words", "mother-in-law"),
    "figlet_font": Form("words", "HABITAT"),
    "fraction_simplification": Form("list", r"$\frac{427}{751}$", note="2/4 is not 1/2: the question is to simplify"),
    "futoshiki": Form("grid", r"3 > 1   4   2\n        ∨    ", note="slow: 3 items a second"),
    "game_of_life": Form("grid", "[[0,1],[1,0]]"),
    "game_of_life_halting": Form("words", "True"),
    "gcd": Form("number", "6"),
    "graph_color": _plans("assignments", '{"0": 1, "1": 2}', "many right answers; no gold answer"),
    "group_anagrams": Form("set", '[["baht", "bath"], ["bases", "sabes"]]'),
    "gsm_symbolic": Form("number", "120"),
    "intermediate_integration": Form(
        "math",
        "-cos(4*x + 10)**5/5 + C",
        is_checked=True,
        note="right answers may differ by more than their spelling, and one gold answer in ten is left as an Integral",
    ),
    "isomorphic_strings": Form("words", "False"),
    "jugs": _plans("list", '["fill A", "pour A->B"]', "many right answers; 800 prompts in all"),
    "kakurasu": Form("grid", r"1 0 1 0\n0 0 0 1"),
    "knight_swap": _plans("list", '["w,A2,C3", "B,C1,B3"]', "many right answers; slow: 5 items a second"),
    "knights_knaves": Form("assignments", "William is an egoist, and Sofia is an altruist."),
    "largest_island": Form("number", "4"),
    "lcm": Form("number", "94"),
    "leg_counting": Form("number", "219"),
    "letter_counting": Form("number", "1"),
    "letter_jumble": Form("words", "of the railroads of the olden time"),
    "list_functions": Form("list", "[38, 66, 1]"),
    "mahjong_puzzle": Form("words", "Peng"),
    "manipulate_matrix": Form("grid", r"6 5\n5 1"),
    "maze": Form("number", "9"),
    "mini_sudoku": Form("grid", r"3 1 2 4\n2 4 1 3"),
    "modulo_grid": Form("grid", r"❌✅\n✅❌"),
    "n_queens": _plans("grid", r"_ Q _ _\n_ _ _ Q", "one in three has several right answers"),
    "needle_haystack": Form("words", "Mohammad-Bilal"),
    "number_filtering": Form("list", "['46.54', '71.0']"),
    "number_format": Form("number", "732685551.4020001"),
    "number_sequence": Form("number", "-130"),
    "number_sorting": Form("list", "['74.8', '71.0', '-29.02']"),
    "palindrome_generation": _plans("words", "tvuwgwuvt"),
    "palindrome_partitioning": Form("set", '[["a", "d", "a"], ["ada"]]'),
    "path_star": Form("list", "18094 60489 88096"),
    "polynomial_equations": Form("set", "-0.7292, 0.0"),
    "polynomial_multiplication": Form("sum", "5264*y**5 - 4424*y**4", note="only expanded products are compared"),
    "pool_matrix": Form("grid", r"3.75 6.0\n3.5 2.5", is_checked=True, note="right within one in a hundred"),
    "power_function": Form("number", "-8.52e-14", is_checked=True, note="right in three significant figures"),
    "prime_factorization": Form("set", "2 × 2 × 107", note="1000 prompts in all"),
    "products": Form("number", "35"),
    "propositional_logic": _plans("text", "(P ∨ Q)", "many right answers; no gold answer"),
    "puzzle24": _plans("text", "3*(10 + 7 - 9)"),
    "quantum_lock": _plans("list", "C → A → A", "several shortest answers"),
    "ransom_note": Form("words", "True"),
    "rearc": Form("grid", r"3 3 0\n3 0 3"),
    "rectangle_count": Form("number", "7"),
    "rotate_matrix": Form("grid", r"3 5\n8 4"),
    "rotten_oranges": Form("number", "-1"),
    "rubiks_cube": _plans("text", "U R' F", "many right answers; no gold answer"),
    "rush_hour": _plans("text", "F+1 K+1 M-1", "many right answers; no gold answer"),
    "self_reference": Form("number", "2"),
    "sentence_reordering": Form("words", "Smith, you will dine with me."),
    "shortest_path": _plans("list", "up up left", "one in five has several shortest paths"),
    "simple_equations": Form("number", "34"),
    "simple_geometry": Form("number", "152"),
    "simple_integration": Form("math", "3*x**10/10 - 2*x**2 + C", is_checked=True),
    "sokoban": _plans("text", "LLURRD"),
    "spell_backward": Form("words", "ycagelerp"),
    "spiral_matrix": Form("list", "3 1 1 0 4 5"),
    "string_insertion": Form("words", "DDABCCCEEDC"),
    "string_manipulation": Form("words", "cabbabcb"),
    "string_splitting": Form("list", "0 1 0 5 0 3", note="216 prompts in all"),
    "string_synthesis": Form("list", "0 2 0 0 0 3 0 0 0", note="216 prompts in all"),
    "sudoku": Form("grid", r"8 5 4 9 1 2 3 6 7\n2 6 3 4 8 7 1 9 5"),
    "survo": Form(
        "grid", r"1 5 6 12\n5 7 3 15", note="one in a hundred has several right answers, of which one counts"
    ),
    "syllogism": Form("words", "Yes"),
    "time_intervals": Form("words", "86 days, 18:20:44"),
    "tower_of_hanoi": _plans(
        "words",
        "Move disk 1 from Peg 2 to Peg 1",
        "several shortest answers; max_pegs: 3 has one, and can be voted on. 90 prompts in all",
    ),
    "tsumego": Form("words", "J12", note="one in ten has several captures, of which one counts"),
    "word_ladder": _plans("list", "PURR,PURE,PARE,PART"),
    "word_sequence_reversal": Form("list", "ASCII, betokened, but"),
    "word_sorting": Form("list", "AGREEMENT, anywhere, order"),
    "zebra_puzzles": Form("words", "arnold"),
}
"""The generators of reasoning-gym 0.1.25, by name."""


def table() -> str:
    """`FORMS` as the Markdown table of docs/reasoning-gym.md."""
    lines = ["| name | compared as | vote | right is | example | note |", "|---|---|---|---|---|---|"]
    for name, form in FORMS.items():
        right = "what a checker passes" if form.is_checked else "the gold answer"
        example = f"`{form.example}`" if form.example else ""
        cells = (name, form.equivalence, "yes" if form.votable else "no", right, example, form.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
