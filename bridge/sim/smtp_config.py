"""Settings and faults of the simulated SMTP server."""

from dataclasses import dataclass

from bridge.sim.faults import Faults, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpConfig:
    """How the simulated server behaves when nothing goes wrong."""

    host: str = "127.0.0.1"
    port: int = 0  # of SMTP; 0: any free one
    control_port: int = 0  # of the HTTP addresses under /_sim/
    seed: int = 1
    hostname: str = "mail.sim.example"  # how it greets

    username: str = ""  # with one, AUTH (LOGIN, PLAIN) is offered, and has to come before MAIL
    password: str = ""
    tls: str = "none"  # none | starttls (has to come before AUTH and MAIL) | tls (from the first byte)

    max_bytes: int = 33554432  # SIZE; larger contents get 552
    idle_seconds: float = 300.0  # a connection without commands is closed
    messages_per_connection: int = 0  # after so many the server closes as in close_idle; 0: never


class SmtpFaults(Faults):
    """What goes wrong. Rates are per connection, command or content, as noted."""

    # per connection
    greeting: Rate = 0.0  # 421 instead of 220, then closed

    # per AUTH
    auth_refused: Rate = 0.0  # 535
    auth_later: Rate = 0.0  # 454

    # per MAIL
    sender_later: Rate = 0.0
    sender_later_code: int = 451
    sender_refused: Rate = 0.0
    sender_refused_code: int = 550

    # per RCPT
    recipient_later: Rate = 0.0
    recipient_later_code: int = 450  # 450, 451, 452
    recipient_refused: Rate = 0.0
    recipient_refused_code: int = 550

    # per DATA, before the content is taken
    data_later: Rate = 0.0  # 451 instead of 354
    reset_before_dot: Rate = 0.0  # cut after 354, while the content comes
    content_later: Rate = 0.0
    content_later_code: int = 451
    content_refused: Rate = 0.0
    content_refused_code: int = 554

    # per content, after it is taken
    slow: Rate = 0.0  # the answer to the dot comes late
    slow_seconds: float = 1.0
    reset_after_dot: Rate = 0.0
    timeout_after_dot: Rate = 0.0
    timeout_seconds: float = 5.0  # how long timeout_after_dot holds the connection
    close_idle: Rate = 0.0  # once it was answered, the server closes the connection with 421
    close_idle_silently: bool = False  # … or without a word
    close_idle_seconds: float = 0.0  # … so long after the answer
