"""Triton's texts, as 2.51 (24.10) really words them: which are curable, and what the user reads."""

import pytest
from tritone_client import errors
from tritone_client.errors import Failure, explain, is_curable, sentence

# Recorded from tritonserver 2.51 and gRPC 1.85: status, text, curable, exception, its sentence contains.
SEEN = [
    (
        "UNAVAILABLE",
        "in ensemble 'narrow', [request id: <id_unknown>] Exceeds maximum queue size",
        True,
        errors.ServerBusy,
        "(Exceeds maximum queue size)",
    ),
    (
        "INTERNAL",
        "in ensemble 'vgg19_bn_cqt', Stub process 'vgg19_bn_cqt_preprocess_0_1' is not healthy.",
        True,
        errors.ServerUnavailable,
        "was not ready after 3.0 s (Stub process",
    ),
    (
        "NOT_FOUND",
        "Request for unknown model: 'vgg19_bn_cqt' has no available versions",
        True,
        errors.ServerUnavailable,
        "has no available versions",
    ),
    (
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:42357: Failed to connect to "
        "remote host: Connection refused",
        True,
        errors.ServerUnavailable,
        "(Connection refused)",
    ),
    (
        "UNAVAILABLE",
        "Stream removed (Socket closed (GOAWAY received; Error code: 0; Debug Text: ))",
        True,
        errors.ServerUnavailable,
        "Stream removed",
    ),
    ("UNAVAILABLE", "Connection reset by peer", True, errors.ServerUnavailable, "Connection reset by peer"),
    (
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:33535: Tls handshake failed "
        "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
        "CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
        False,
        errors.ServerUnavailable,
        "(Tls handshake failed",
    ),
    ("UNAVAILABLE", "certificate verify failed", False, errors.ServerUnavailable, "certificate verify failed"),
    ("NOT_FOUND", "Request for unknown model: 'nope' is not found", False, errors.UnknownModel, "no model 'm'"),
    (
        "INVALID_ARGUMENT",
        "[request id: <id_unknown>] expected 1 inputs but got 2 inputs for model 'vgg19_bn_cqt_raw'. Got input(s)",
        False,
        errors.UnknownModel,
        "takes no recordings",
    ),
    (
        "INVALID_ARGUMENT",
        "unexpected inference input 'OPTIONS' for model 'vgg19_bn_cqt_network'",
        False,
        errors.UnknownModel,
        "takes no recordings",
    ),
    (
        "INVALID_ARGUMENT",
        "in ensemble 'm', Not audio: send WAV.",
        False,
        errors.InvalidRecording,
        "Not audio: send WAV.",
    ),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", False, errors.DeadlineExceeded, "within 3.0 s"),
    (
        "INTERNAL",
        "in ensemble 'm', Failed to process the request(s) for model 'm_preprocess_0_2', message: RuntimeError: "
        "a bug\n\nAt:\n  /models/m_preprocess/1/model.py(99): behave\n",
        False,
        errors.InferenceFailed,
        "(RuntimeError: a bug)",
    ),
]


@pytest.mark.parametrize(("status", "text", "curable", "kind", "contains"), SEEN)
def test_seen_texts(status: str, text: str, curable: bool, kind: type, contains: str):
    failure = Failure(status, text)
    assert is_curable(failure) is curable
    error = explain(failure, url="grpc://h:1", model="m", seconds=3.0)
    assert type(error) is kind and contains in str(error)
    assert "\n" not in str(error) and "ensemble" not in str(error) and "request id" not in str(error)


def test_every_curable_text_was_seen():
    for status, pattern, why in errors.CURABLE:
        rows = [row for row in SEEN if row[2] and row[0] == status and errors.re.search(pattern, row[1])]
        assert rows and why


def test_a_sentence_loses_all_layers_of_wrapping():
    text = (
        "in ensemble 'a_raw', in ensemble 'a', Failed to process the request(s) for model instance 'a_0_0', "
        "message: TritonModelException: The file ends too early."
    )
    assert sentence(text) == "The file ends too early."


@pytest.mark.parametrize(
    ("text", "sentence", "code"),
    [
        (
            "in ensemble 's_raw', in ensemble 's', The recording is silent. [silent]",
            "The recording is silent.",
            "silent",
        ),
        ("OPTIONS: [x] is unknown; choose from a. [option]", "OPTIONS: [x] is unknown; choose from a.", "option"),
        ("unexpected shape for input 'PCM' [1,2]", "unexpected shape for input 'PCM' [1,2]", "recording"),
        ("The recording is empty.", "The recording is empty.", "recording"),
    ],
)
def test_a_refusal_has_its_code_and_the_sentence_is_without_it(text, sentence, code):
    error = explain(Failure("INVALID_ARGUMENT", text), url="u", model="m", seconds=1.0)
    assert isinstance(error, errors.InvalidRecording) and (str(error), error.code) == (sentence, code)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "OPTIONS: 'segmnts' is unknown; choose from denoise, segments, top_k. [option]",
            "OPTIONS: 'segmnts' is unknown (did you mean 'segments'?); choose from denoise, segments, top_k.",
        ),
        (
            "OPTIONS: denoise 'quitest' is unknown; choose one of null, quietest. [option]",
            "OPTIONS: denoise 'quitest' is unknown (did you mean 'quietest'?); choose one of null, quietest.",
        ),
        ("OPTIONS: 'x' is unknown; choose from a, b. [option]", "OPTIONS: 'x' is unknown; choose from a, b."),
    ],
)
def test_a_misspelled_option_gets_a_suggestion(text: str, sentence: str):
    assert str(explain(Failure("INVALID_ARGUMENT", text), url="u", model="m", seconds=1.0)) == sentence


def test_a_refused_connection_names_the_command_that_starts_the_server():
    refused, lost = (
        explain(Failure("UNAVAILABLE", text), url="grpc://h:1", model="m", seconds=1.0)
        for text in ("Failed to connect to remote host: Connection refused", "Connection reset by peer")
    )
    assert "`make serve`" in str(refused) and "`make serve`" not in str(lost)
