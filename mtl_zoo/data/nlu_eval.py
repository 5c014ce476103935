"""NLU evaluation data: what people say to an assistant at home, labelled three times.

Each utterance has a scenario, an intent (64 pairs of scenario and action) and entities.
"""

from __future__ import annotations

import csv
import os
import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import hashing, text_sets
from mtl_zoo.entities import tag_names

__all__ = ["INTENTS", "SCENARIOS", "TAGS", "TYPES", "NluEval", "load"]

SCENARIOS = tuple(
    [
        "alarm",
        "audio",
        "calendar",
        "cooking",
        "datetime",
        "email",
        "general",
        "iot",
        "lists",
        "music",
        "news",
        "play",
        "qa",
        "recommendation",
        "social",
        "takeaway",
        "transport",
        "weather",
    ]
)
INTENTS = tuple(
    [
        "alarm_query",
        "alarm_remove",
        "alarm_set",
        "audio_volume_down",
        "audio_volume_mute",
        "audio_volume_up",
        "calendar_query",
        "calendar_remove",
        "calendar_set",
        "cooking_recipe",
        "datetime_convert",
        "datetime_query",
        "email_addcontact",
        "email_query",
        "email_querycontact",
        "email_sendemail",
        "general_affirm",
        "general_commandstop",
        "general_confirm",
        "general_dontcare",
        "general_explain",
        "general_joke",
        "general_negate",
        "general_praise",
        "general_quirky",
        "general_repeat",
        "iot_cleaning",
        "iot_coffee",
        "iot_hue_lightchange",
        "iot_hue_lightdim",
        "iot_hue_lightoff",
        "iot_hue_lighton",
        "iot_hue_lightup",
        "iot_wemo_off",
        "iot_wemo_on",
        "lists_createoradd",
        "lists_query",
        "lists_remove",
        "music_likeness",
        "music_query",
        "music_settings",
        "news_query",
        "play_audiobook",
        "play_game",
        "play_music",
        "play_podcasts",
        "play_radio",
        "qa_currency",
        "qa_definition",
        "qa_factoid",
        "qa_maths",
        "qa_stock",
        "recommendation_events",
        "recommendation_locations",
        "recommendation_movies",
        "social_post",
        "social_query",
        "takeaway_order",
        "takeaway_query",
        "transport_query",
        "transport_taxi",
        "transport_ticket",
        "transport_traffic",
        "weather_query",
    ]
)
TYPES = tuple(
    [
        "alarm_type",
        "app_name",
        "artist_name",
        "audiobook_author",
        "audiobook_name",
        "business_name",
        "business_type",
        "change_amount",
        "coffee_type",
        "color_type",
        "cooking_type",
        "currency_name",
        "date",
        "definition_word",
        "device_type",
        "drink_type",
        "email_address",
        "email_folder",
        "event_name",
        "food_type",
        "game_name",
        "game_type",
        "general_frequency",
        "house_place",
        "ingredient",
        "joke_type",
        "list_name",
        "meal_type",
        "media_type",
        "movie_name",
        "movie_type",
        "music_album",
        "music_descriptor",
        "music_genre",
        "news_topic",
        "order_type",
        "person",
        "personal_info",
        "place_name",
        "player_setting",
        "playlist_name",
        "podcast_descriptor",
        "podcast_name",
        "radio_name",
        "relation",
        "song_name",
        "time",
        "time_zone",
        "timeofday",
        "transport_agency",
        "transport_descriptor",
        "transport_name",
        "transport_type",
        "weather_descriptor",
    ]
)
TAGS = tag_names(TYPES)

_ENTITY = re.compile(r"\[([^:\]]+):([^\]]*)\]")


class NluEval(text_sets.TextSet):
    """TFDS builder of the first fold; the validation is a tenth of its training part.

    An utterance whose MD5 is 0 modulo 10 is in the validation.
    """

    name = "nlu_eval"
    DESCRIPTION = "Utterances for an assistant with scenario, intent and entities."
    HOMEPAGE = "https://github.com/xliuhw/NLU-Evaluation-Data"
    CITATION = (
        "@inproceedings{liu2019benchmarking, title={Benchmarking Natural Language "
        "Understanding Services for Building Conversational Agents}, author={Liu, "
        "Xingkun and Eshghi, Arash and Swietojanski, Pawel and Rieser, Verena}, "
        "booktitle={IWSDS}, year={2019}}"
    )
    LICENSE = "CC BY 4.0"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            **text_sets.tagged_words(TAGS),
            "scenario": tfds.features.ClassLabel(names=SCENARIOS),
            "intent": tfds.features.ClassLabel(names=INTENTS),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        name = "test" if split == "test" else "train"
        with (source / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                words, tags = tagged(row["answer_annotation"])
                number = hashing.number_of(" ".join(words))
                held_out = name == "train" and number % 10 == 0
                if held_out != (split == "validation"):
                    continue
                yield {
                    "words": words,
                    "tags": tags,
                    "scenario": row["scenario"],
                    "intent": f"{row['scenario']}_{row['intent']}",
                }


def tagged(annotation: str) -> tuple[list[str], list[str]]:
    """Return the words of an annotated utterance and their tags.

    Example:
        >>> tagged("wake me [time : five am]")
        (['wake', 'me', 'five', 'am'], ['O', 'O', 'B-time', 'I-time'])
    """
    words: list[str] = []
    tags: list[str] = []
    place = 0
    for match in _ENTITY.finditer(annotation):
        before = annotation[place : match.start()].split()
        inside = match[2].split()
        name = match[1].strip()
        words += before + inside
        tags += ["O"] * len(before)
        tags += [f"{'I' if i else 'B'}-{name}" for i in range(len(inside))]
        place = match.end()
    rest = annotation[place:].split()
    return words + rest, tags + ["O"] * len(rest)


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The utterances of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS,
        "scenario": int64, number of SCENARIOS, "intent": int64, number of INTENTS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(NluEval, split, data_dir)
