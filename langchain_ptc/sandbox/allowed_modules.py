"""Which modules of the standard library the code may import, and which names each shows.

A name is listed if it computes. What opens files or sockets, starts processes, evaluates text as
code, or hands out modules and frames does not.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence

_TYPING = """
    AbstractSet Annotated Any AnyStr AsyncContextManager AsyncGenerator AsyncIterable AsyncIterator
    Awaitable BinaryIO ByteString Callable ChainMap ClassVar Collection Concatenate Container
    ContextManager Coroutine Counter DefaultDict Deque Dict Final FrozenSet Generator Generic
    Hashable IO ItemsView Iterable Iterator KeysView List Literal LiteralString Mapping MappingView
    Match MutableMapping MutableSequence MutableSet NamedTuple Never NewType NoDefault NoReturn
    NotRequired Optional OrderedDict ParamSpec ParamSpecArgs ParamSpecKwargs Pattern Protocol
    ReadOnly Required Reversible Self Sequence Set Sized SupportsAbs SupportsBytes SupportsComplex
    SupportsFloat SupportsIndex SupportsInt SupportsRound Text TextIO Tuple Type TYPE_CHECKING
    TypeAlias TypeAliasType TypeGuard TypeIs TypeVar TypeVarTuple TypedDict Union Unpack ValuesView
    assert_never assert_type cast dataclass_transform final get_args get_origin is_typeddict
    overload override runtime_checkable
"""

_TABLE: Mapping[str, str] = {
    "__future__": "annotations division print_function generator_stop absolute_import "
    "unicode_literals with_statement nested_scopes generators",
    "abc": "ABC ABCMeta abstractmethod abstractproperty abstractclassmethod abstractstaticmethod",
    "array": "array ArrayType typecodes",
    "ast": "literal_eval",
    "asyncio": "ALL_COMPLETED FIRST_COMPLETED FIRST_EXCEPTION Barrier BoundedSemaphore "
    "BrokenBarrierError CancelledError Condition Event Future InvalidStateError LifoQueue Lock "
    "PriorityQueue Queue QueueEmpty QueueFull QueueShutDown Semaphore Task TaskGroup Timeout "
    "TimeoutError all_tasks as_completed create_task current_task ensure_future gather iscoroutine "
    "iscoroutinefunction isfuture shield sleep timeout timeout_at wait wait_for",
    "base64": "a85decode a85encode b16decode b16encode b32decode b32encode b32hexdecode "
    "b32hexencode b64decode b64encode b85decode b85encode decodebytes encodebytes "
    "standard_b64decode standard_b64encode urlsafe_b64decode urlsafe_b64encode",
    "binascii": "Error Incomplete a2b_base64 a2b_hex a2b_qp a2b_uu b2a_base64 b2a_hex b2a_qp "
    "b2a_uu crc32 crc_hqx hexlify unhexlify",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "bz2": "BZ2Compressor BZ2Decompressor compress decompress",
    "calendar": "APRIL AUGUST DECEMBER FEBRUARY FRIDAY JANUARY JULY JUNE MARCH MAY MONDAY NOVEMBER "
    "OCTOBER SATURDAY SEPTEMBER SUNDAY THURSDAY TUESDAY WEDNESDAY Calendar Day HTMLCalendar "
    "IllegalMonthError IllegalWeekdayError Month TextCalendar calendar day_abbr day_name "
    "firstweekday isleap leapdays month month_abbr month_name monthcalendar monthrange prcal "
    "prmonth prweek timegm weekday weekheader",
    "cmath": "acos acosh asin asinh atan atanh cos cosh e exp inf infj isclose isfinite isinf isnan "
    "log log10 nan nanj phase pi polar rect sin sinh sqrt tan tanh tau",
    "codecs": "BOM_UTF8 BOM_UTF16 BOM_UTF32 decode encode",
    "collections": "ChainMap Counter OrderedDict UserDict UserList defaultdict deque namedtuple",
    "collections.abc": "AsyncGenerator AsyncIterable AsyncIterator Awaitable Buffer ByteString "
    "Callable Collection Container Coroutine Generator Hashable ItemsView Iterable Iterator "
    "KeysView Mapping MappingView MutableMapping MutableSequence MutableSet Reversible Sequence "
    "Set Sized ValuesView",
    "colorsys": "hls_to_rgb hsv_to_rgb rgb_to_hls rgb_to_hsv rgb_to_yiq yiq_to_rgb",
    "concurrent": "",
    "concurrent.futures": "ALL_COMPLETED CancelledError FIRST_COMPLETED FIRST_EXCEPTION Future "
    "InvalidStateError TimeoutError as_completed wait",
    "contextlib": "AbstractAsyncContextManager AbstractContextManager AsyncContextDecorator "
    "AsyncExitStack ContextDecorator ExitStack aclosing asynccontextmanager closing contextmanager "
    "nullcontext suppress",
    "contextvars": "ContextVar Token",
    "copy": "Error copy deepcopy replace",
    "csv": "Dialect DictReader DictWriter Error QUOTE_ALL QUOTE_MINIMAL QUOTE_NONE "
    "QUOTE_NONNUMERIC QUOTE_NOTNULL QUOTE_STRINGS Sniffer excel excel_tab field_size_limit "
    "list_dialects reader unix_dialect writer",
    "dataclasses": "FrozenInstanceError InitVar KW_ONLY MISSING asdict astuple dataclass field "
    "fields is_dataclass replace",
    "datetime": "MAXYEAR MINYEAR UTC date datetime time timedelta timezone tzinfo",
    "decimal": "Clamped Context ConversionSyntax Decimal DecimalException DivisionByZero "
    "DivisionImpossible DivisionUndefined FloatOperation HAVE_THREADS Inexact InvalidContext "
    "InvalidOperation MAX_EMAX MAX_PREC MIN_EMIN MIN_ETINY Overflow ROUND_05UP ROUND_CEILING "
    "ROUND_DOWN ROUND_FLOOR ROUND_HALF_DOWN ROUND_HALF_EVEN ROUND_HALF_UP ROUND_UP Rounded "
    "Subnormal Underflow getcontext localcontext setcontext",
    "difflib": "Differ HtmlDiff IS_CHARACTER_JUNK IS_LINE_JUNK Match SequenceMatcher context_diff "
    "diff_bytes get_close_matches ndiff restore unified_diff",
    "enum": "CONFORM CONTINUOUS EJECT Enum EnumCheck EnumMeta EnumType Flag FlagBoundary IntEnum "
    "IntFlag KEEP NAMED_FLAGS STRICT StrEnum UNIQUE auto member nonmember property unique verify",
    "errno": "EACCES EAGAIN EEXIST EINTR EINVAL EIO ENOENT ENOMEM ENOSPC EPERM EPIPE ETIMEDOUT "
    "errorcode",
    "fnmatch": "filter fnmatch fnmatchcase translate",
    "fractions": "Fraction",
    "functools": "Placeholder WRAPPER_ASSIGNMENTS WRAPPER_UPDATES cache cached_property cmp_to_key lru_cache "
    "partial partialmethod reduce singledispatch total_ordering "
    "update_wrapper wraps",
    "graphlib": "CycleError TopologicalSorter",
    "gzip": "BadGzipFile compress decompress",
    "hashlib": "algorithms_available algorithms_guaranteed blake2b blake2s md5 new pbkdf2_hmac "
    "scrypt sha1 sha224 sha256 sha384 sha3_224 sha3_256 sha3_384 sha3_512 sha512 shake_128 "
    "shake_256",
    "heapq": "heapify heapify_max heappop heappop_max heappush heappush_max heappushpop heappushpop_max "
    "heapreplace heapreplace_max merge nlargest nsmallest",
    "hmac": "HMAC compare_digest digest new",
    "html": "escape unescape",
    "html.entities": "codepoint2name entitydefs html5 name2codepoint",
    "html.parser": "HTMLParser",
    "http": "HTTPMethod HTTPStatus",
    "inspect": "Parameter Signature cleandoc signature isabstract isasyncgen isasyncgenfunction isawaitable isbuiltin isclass iscoroutine "
    "iscoroutinefunction isfunction isgenerator isgeneratorfunction ismethod isroutine",
    "io": "BufferedIOBase BytesIO IOBase RawIOBase SEEK_CUR SEEK_END SEEK_SET StringIO TextIOBase "
    "TextIOWrapper UnsupportedOperation",
    "ipaddress": "AddressValueError IPv4Address IPv4Interface IPv4Network IPv6Address "
    "IPv6Interface IPv6Network NetmaskValueError collapse_addresses get_mixed_type_key ip_address "
    "ip_interface ip_network summarize_address_range v4_int_to_packed v6_int_to_packed",
    "itertools": "accumulate batched chain combinations combinations_with_replacement compress "
    "count cycle dropwhile filterfalse groupby islice pairwise permutations product repeat starmap "
    "takewhile tee zip_longest",
    "json": "JSONDecodeError JSONDecoder JSONEncoder dump dumps load loads",
    "json.decoder": "JSONDecodeError JSONDecoder",
    "json.encoder": "JSONEncoder",
    "keyword": "iskeyword issoftkeyword kwlist softkwlist",
    "logging": "",
    "lzma": "FORMAT_ALONE FORMAT_AUTO FORMAT_XZ LZMACompressor LZMADecompressor LZMAError compress "
    "decompress",
    "math": "acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e "
    "erf erfc exp exp2 expm1 fabs factorial floor fma fmod frexp fsum gamma gcd hypot inf isclose "
    "isfinite isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nan nextafter perm pi "
    "pow prod radians remainder sin sinh sqrt sumprod tan tanh tau trunc ulp",
    "numbers": "Complex Integral Number Rational Real",
    "operator": "abs add and_ attrgetter call concat contains countOf delitem eq floordiv ge "
    "getitem gt iadd iand iconcat ifloordiv ilshift imatmul imod imul index indexOf inv invert ior "
    "ipow irshift is_ is_none is_not is_not_none isub itemgetter itruediv ixor le length_hint lshift lt matmul "
    "methodcaller mod mul ne neg not_ or_ pos pow rshift setitem sub truediv truth xor",
    "pprint": "PrettyPrinter isreadable isrecursive pformat pp pprint saferepr",
    "queue": "Empty Full LifoQueue PriorityQueue Queue ShutDown SimpleQueue",
    "random": "Random SystemRandom betavariate binomialvariate choice choices expovariate "
    "gammavariate gauss getrandbits getstate lognormvariate normalvariate paretovariate randbytes "
    "randint random randrange sample seed setstate shuffle triangular uniform vonmisesvariate "
    "weibullvariate",
    "re": "A ASCII DOTALL I IGNORECASE L LOCALE M MULTILINE Match NOFLAG Pattern PatternError "
    "RegexFlag S U UNICODE VERBOSE X compile error escape findall finditer fullmatch match purge "
    "search split sub subn",
    "reprlib": "Repr recursive_repr repr",
    "secrets": "SystemRandom choice compare_digest randbelow randbits token_bytes token_hex "
    "token_urlsafe",
    "shlex": "join quote split",
    "statistics": "NormalDist StatisticsError correlation covariance fmean geometric_mean "
    "harmonic_mean kde kde_random linear_regression mean median median_grouped median_high "
    "median_low mode multimode pstdev pvariance quantiles stdev variance",
    "string": "Formatter Template ascii_letters ascii_lowercase ascii_uppercase capwords digits "
    "hexdigits octdigits printable punctuation whitespace",
    **(
        {"string.templatelib": "Interpolation Template convert"}
        if sys.version_info >= (3, 14)
        else {}
    ),
    "struct": "Struct calcsize error iter_unpack pack pack_into unpack unpack_from",
    "sys": "api_version argv byteorder exc_info exit float_info float_repr_style getdefaultencoding "
    "getrecursionlimit getsizeof hash_info hexversion int_info intern maxsize "
    "maxunicode platform setrecursionlimit version version_info",
    "textwrap": "TextWrapper dedent fill indent shorten wrap",
    "threading": "",
    "time": "altzone asctime ctime daylight get_clock_info gmtime localtime mktime monotonic "
    "monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep strftime "
    "strptime struct_time thread_time thread_time_ns time time_ns timezone tzname",
    "timeit": "default_timer",
    "tomllib": "TOMLDecodeError loads",
    "traceback": "",
    "types": "AsyncGeneratorType BuiltinFunctionType BuiltinMethodType CoroutineType EllipsisType "
    "FunctionType GeneratorType GenericAlias LambdaType MappingProxyType MethodType ModuleType "
    "NoneType NotImplementedType SimpleNamespace UnionType",
    "typing": _TYPING,
    "typing_extensions": _TYPING,
    "unicodedata": "bidirectional category combining decimal decomposition digit "
    "east_asian_width is_normalized lookup mirrored name normalize numeric unidata_version",
    "urllib": "",
    "urllib.parse": "ParseResult ParseResultBytes SplitResult SplitResultBytes parse_qs parse_qsl "
    "quote quote_from_bytes quote_plus unquote unquote_plus unquote_to_bytes urldefrag urlencode "
    "urljoin urlparse urlsplit urlunparse urlunsplit",
    "uuid": "NAMESPACE_DNS NAMESPACE_OID NAMESPACE_URL NAMESPACE_X500 SafeUUID UUID uuid3 uuid4 "
    "uuid5",
    "warnings": "catch_warnings filterwarnings resetwarnings simplefilter warn",
    "weakref": "ReferenceType WeakKeyDictionary WeakSet WeakValueDictionary ref",
    "xml": "",
    "xml.etree": "",
    "xml.etree.ElementTree": "Comment Element ParseError ProcessingInstruction QName SubElement "
    "TreeBuilder XML XMLID fromstring fromstringlist indent iselement register_namespace "
    "tostring tostringlist",
    "zlib": "adler32 compress compressobj crc32 decompress decompressobj error",
    "zoneinfo": "InvalidTZPathWarning ZoneInfo ZoneInfoNotFoundError available_timezones",
}

STANDARD_MODULES: Mapping[str, tuple[str, ...]] = {
    module: tuple(names.split()) for module, names in _TABLE.items()
}
"""Module -> the names that it shows; names that this Python does not have are left out."""

_FILE_TABLE: Mapping[str, str] = {
    "bz2": "BZ2File open",
    "codecs": "open",
    "configparser": "BasicInterpolation ConfigParser DuplicateSectionError Error ExtendedInterpolation "
    "MissingSectionHeaderError NoOptionError NoSectionError ParsingError RawConfigParser SectionProxy",
    "filecmp": "DEFAULT_IGNORES clear_cache cmp cmpfiles dircmp",
    "fileinput": "FileInput close filelineno filename fileno input isfirstline isstdin lineno nextfile",
    "glob": "escape glob glob0 glob1 has_magic iglob",
    "gzip": "GzipFile open",
    "hashlib": "file_digest",
    "io": "BufferedRandom BufferedReader BufferedWriter DEFAULT_BUFFER_SIZE FileIO open",
    "linecache": "checkcache clearcache getline getlines",
    "lzma": "LZMAFile open",
    "mimetypes": "MimeTypes add_type guess_all_extensions guess_extension guess_type",
    "os": "DirEntry F_OK O_APPEND O_CREAT O_EXCL O_RDONLY O_RDWR O_TRUNC O_WRONLY PathLike R_OK SEEK_CUR "
    "SEEK_END SEEK_SET W_OK X_OK access altsep chdir chmod close cpu_count curdir devnull error extsep "
    "fdopen fsdecode fsencode fspath fstat fsync ftruncate fwalk get_terminal_size getcwd getcwdb getpid "
    "linesep listdir lseek lstat makedirs mkdir name open pardir pathsep read remove removedirs rename "
    "renames replace rmdir scandir sep stat stat_result statvfs strerror truncate unlink urandom utime "
    "walk write",
    "os.path": "abspath altsep basename commonpath commonprefix curdir devnull dirname exists expanduser "
    "expandvars extsep getatime getctime getmtime getsize isabs isdir isfile islink ismount join lexists "
    "normcase normpath pardir pathsep realpath relpath samefile sameopenfile samestat sep split "
    "splitdrive splitext splitroot",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath",
    "shutil": "Error ReadError SameFileError SpecialFileError copy copy2 copyfile copyfileobj copymode "
    "copystat copytree disk_usage get_archive_formats get_terminal_size get_unpack_formats "
    "ignore_patterns make_archive move rmtree unpack_archive which",
    "sqlite3": "Binary Blob Connection Cursor DataError DatabaseError Date Error IntegrityError InterfaceError "
    "InternalError NotSupportedError OperationalError PARSE_COLNAMES PARSE_DECLTYPES ProgrammingError Row Time "
    "Timestamp Warning complete_statement connect register_adapter register_converter sqlite_version",
    "stat": "S_IFDIR S_IFREG S_IMODE S_IRUSR S_IRWXU S_ISDIR S_ISLNK S_ISREG S_IWUSR S_IXUSR ST_MTIME ST_SIZE "
    "filemode",
    "tarfile": "CompressionError ExtractError HeaderError ReadError StreamError TarError TarFile TarInfo "
    "data_filter fully_trusted_filter is_tarfile open tar_filter",
    "tempfile": "NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory TemporaryFile gettempdir "
    "gettempprefix mkdtemp mkstemp mktemp",
    "tomllib": "load",
    "xml.etree.ElementTree": "ElementTree dump iterparse parse",
    "zipfile": "BadZipFile BadZipfile LargeZipFile Path ZIP_BZIP2 ZIP_DEFLATED ZIP_LZMA ZIP_STORED ZipFile "
    "ZipInfo is_zipfile",
}
"""What code with files has in addition."""

_MORE = {module: tuple(names.split()) for module, names in _FILE_TABLE.items()}
_WITH_FILES = {**STANDARD_MODULES} | {m: (*STANDARD_MODULES.get(m, ()), *_MORE[m]) for m in _MORE}


def standard_modules(*, files: bool) -> Mapping[str, tuple[str, ...]]:
    """Return the modules that the code may import, with the names that each shows, and those for `files`."""
    return _WITH_FILES if files else STANDARD_MODULES


ALIASES: Mapping[str, str] = {"typing_extensions": "typing"}
"""Modules that are served from another one."""

ONLY_OVERRIDDEN = frozenset({"logging", "threading", "traceback"})
"""Modules whose every name is made for the program; not available if they are not made."""

PRELOAD: tuple[str, ...] = (
    *(module for module in STANDARD_MODULES if module not in ALIASES),
    *(("_pylong",) if sys.version_info >= (3, 12) else ()),
    *("_strptime", "_decimal", "stringprep", "json.scanner", "zoneinfo._common"),
    *("_md5", "_sha1", "_sha3", "_blake2", "xml.parsers.expat"),
    *(("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")),
    "tracemalloc",  # warnings that are formatted
    *("quopri", "_multibytecodec"),  # what codecs are made of
    *(f"_codecs_{name}" for name in ("cn", "hk", "iso2022", "jp", "kr", "tw")),
)
"""What the parent of workers imports once: there is no file system later."""

FILE_PRELOAD: tuple[str, ...] = (*_FILE_TABLE, "sqlite3.dump", "pwd", "grp")
"""What it imports besides, for code with files."""


def list_codecs() -> list[str]:
    """Return the modules of all codecs; Python imports each at its first use."""
    import encodings
    import pkgutil

    return [
        f"encodings.{found.name}"
        for found in pkgutil.iter_modules(encodings.__path__)
        if found.name not in _OF_WINDOWS
    ]


_OF_WINDOWS = frozenset({"mbcs", "oem"})

_NO_FILES = "there are no files in the sandbox; call a tool, or return or print the data"
_NO_NETWORK = "there is no network in the sandbox; call a tool"
_NO_PROCESSES = "there are no processes in the sandbox; compute here, or call a tool"
_NO_INTERNALS = "the interpreter itself is out of reach in the sandbox"
_NO_PICKLE = "it runs code that is in the data; use `json`, or `copy.deepcopy`"


def _refuse(modules: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(modules.split(), reason)


REFUSED_MODULES: Mapping[str, str] = {
    **_refuse(
        "os posix nt posixpath ntpath pathlib shutil tempfile glob fileinput filecmp linecache mmap "
        "fcntl sqlite3 dbm shelve zipfile tarfile zipimport configparser netrc mimetypes genericpath "
        "stat _io _pyio",
        _NO_FILES,
    ),
    **_refuse(
        "socket ssl select selectors http.client http.server http.cookiejar urllib.request "
        "urllib.error urllib3 requests httpx aiohttp ftplib smtplib poplib imaplib telnetlib nntplib "
        "xmlrpc socketserver webbrowser asyncio.subprocess websockets",
        _NO_NETWORK,
    ),
    **_refuse(
        "subprocess multiprocessing signal pty tty termios resource pwd grp getpass "
        "concurrent.futures.process _posixsubprocess posix_ipc platform atexit",
        _NO_PROCESSES,
    ),
    **_refuse(
        "builtins __main__ importlib imp pkgutil runpy gc ctypes cffi code codeop dis opcode "
        "symtable tokenize faulthandler tracemalloc sysconfig site pdb bdb trace profile cProfile "
        "pydoc _thread _ctypes _imp _sys _testcapi _xxsubinterpreters "
        "rlcompleter readline ensurepip venv distutils",
        _NO_INTERNALS,
    ),
    **_refuse("pickle _pickle marshal copyreg", _NO_PICKLE),
    "argparse": "there is no command line in the sandbox; use variables",
    "optparse": "there is no command line in the sandbox; use variables",
    "unittest": "use `assert`",
    "doctest": "use `assert`",
    "pytest": "use `assert`",
}
"""Modules that no option gives, each with what to do instead."""


def check_importable(names: Sequence[str]) -> None:
    """Raise `ValueError` if a module that no developer can make available is among `names`."""
    for name in names:
        if reason := reason_to_refuse(name):
            raise ValueError(f"imports: {name!r} is never available: {reason}")


def reason_to_refuse(name: str) -> str | None:
    """Return why a module, or one that it is in, is never available; None if it may be."""
    while name:
        if reason := REFUSED_MODULES.get(name):
            return reason
        name = name.rpartition(".")[0]
    return None


# --- which module a name is from -------------------------------------------------------------------

_MADE = {
    "asyncio": "run to_thread get_event_loop get_running_loop new_event_loop set_event_loop",
    "concurrent.futures": "ThreadPoolExecutor",
    "contextlib": "redirect_stderr redirect_stdout",
    "logging": "BASIC_FORMAT CRITICAL DEBUG ERROR FATAL Filter Formatter Handler INFO LogRecord Logger LoggerAdapter "
    "NOTSET NullHandler PercentStyle StrFormatStyle StreamHandler StringTemplateStyle WARN WARNING "
    "addLevelName basicConfig captureWarnings critical debug disable error exception fatal getLevelName "
    "getLogger info log root shutdown warn warning",
    "sys": "stderr stdout",
    "threading": "BoundedSemaphore Condition Event Lock RLock Semaphore Thread Timer active_count "
    "current_thread get_ident local main_thread",
    "traceback": "format_exc format_exception format_exception_only print_exc print_exception",
}
"""Names of modules that are made for each program."""


@functools.cache
def list_members(module: str) -> frozenset[str]:
    """Return the names of a module, its submodules among them."""
    prefix = f"{module}."
    made = _MADE.get(module, "").split()
    inner = {other[len(prefix) :] for other in STANDARD_MODULES if other.startswith(prefix)}
    return frozenset(
        (*STANDARD_MODULES[module], *made, *(part.partition(".")[0] for part in inner))
    )


def is_member(module: str, name: str) -> bool:
    """Whether a module of the standard library has a name, here or in another Python; of one not listed, always."""
    if module not in STANDARD_MODULES or name.startswith("_") or name in list_members(module):
        return True
    return hasattr(sys.modules.get(module), name)


def member_hint(module: str, name: str) -> str:
    """Return `datetime.datetime.now` for `now` of the module `datetime`; empty for anything else."""
    if module in STANDARD_MODULES.get(module, ()):
        cls = getattr(sys.modules.get(module), module, None)
        if isinstance(cls, type) and name in vars(cls):
            return f"{module}.{module}.{name}"
    return ""


def import_hint(name: str) -> str:
    """Return what to write for a name that nothing binds; empty where no module has it.

    `from collections import Counter` for `Counter`, and for a module its import.
    """
    member = _homes().get(name, "")
    if name not in STANDARD_MODULES:
        return member
    both = member if name in STANDARD_MODULES[name] else ""
    return f"import {name}" + (f"` or `{both}" if both else "")


@functools.cache
def _homes() -> Mapping[str, str]:
    homes: dict[str, list[str]] = {}
    for module, listed in STANDARD_MODULES.items():
        for name in (*listed, *_MADE.get(module, "").split()):
            if len(name) > 2:  # `e`, `pi` and the like are rather variables
                homes.setdefault(name, []).append(module)
    best = {name: min(found, key=lambda m: (m not in _USUAL, m)) for name, found in homes.items()}
    return {name: f"from {module} import {name}" for name, module in best.items()}


_USUAL = frozenset(
    {
        *("collections", "dataclasses", "datetime", "decimal", "enum", "functools", "itertools"),
        *("json", "math", "random", "re", "statistics", "string", "time"),
    }
)
"""Where a name is in several modules, one of these is meant."""
