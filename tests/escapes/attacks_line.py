"""Attacks on the line: a worker that writes to the host whatever it likes."""

from __future__ import annotations

from tests.escapes.attacks import SAYS, Attack, table

NO_CALL = "the host is asked to run a tool that the code was not offered"

FORGED = table(
    "stdout: FORGED",
    {
        "an end, and then another": """
            frame(b'[["d",{"status":"success","value":null,"failure":null,"notes":[]}],'
                  b'["o","FORGED"]]')
        """,
        "a status that is none": "end(status=b'\"FORGED\"')",
        "a status that is a list": "end(status=b'[\"FORGED\"]')",
        "a success with a failure": "end(failure=failure(message='FORGED'))",
        "an error without a failure": "end(status=b'\"error\"', value=b'\"FORGED\"')",
        "notes that are no texts": "end(notes=b'[[\"FORGED\"]]')",
        "notes that are no list": "end(notes=b'\"FORGED\"')",
        "violations that are no list": """
            end(status=b'"refused"', failure=failure(hint='FORGED', violations=5))
        """,
        "violations that are no pairs": """
            end(status=b'"refused"', failure=failure(hint='FORGED', violations=[['FORGED', 1]]))
        """,
        "a line that is a text": "end(status=b'\"error\"', failure=failure(line='FORGED'))",
        "a limit that is a list": "end(status=b'\"limit\"', failure=failure(limit=['FORGED']))",
        "an ending that is a list": 'frame(b\'[["d",["FORGED"]]]\')',
        "an output that is a list": 'frame(b\'[["o",["FORGED"]]]\')',
        "an answer": 'frame(b\'[["r",1,"FORGED"]]\')',
        "a program": 'frame(b\'[["run",{"code":"FORGED"}]]\')',
        "a kind that is none": "frame(b'[[\"FORGED\"]]')",
        "a kind that is a list": "frame(b'[[[\"FORGED\"]]]')",
        "a message that is empty": "frame(b'[[]]')",
        "a message that is an object": 'frame(b\'[{"o":"FORGED"}]\')',
        "a frame that is an object": 'frame(b\'{"o":"FORGED"}\')',
        "a frame that is a number": "frame(b'1')",
        "a frame that is empty": "frame(b'')",
        "a frame that is no MessagePack": 'frame(b\'[["o","FORGED"\')',
        "a frame that is no text": "frame(bytes(range(128, 256)) * 9)",
        "a frame with two values": 'frame(pack(\'["o","x"]\') + pack(\'["o","FORGED"]\'))',
        "a frame that is cut short": 'frame(pack(\'["o","FORGED"]\')[:-1])',
        "a text that is no UTF-8": "frame(b'\\x92\\xa1o\\xa7FORGED\\xff')",
        "a map whose keys are numbers": "frame(pack_end(b'\\x81\\x01\\xa6FORGED'))",
        "an extension that is none": "frame(pack_end(b'\\x92\\xd4\\x63a\\xa6FORGED'))",
        "a mark that marks nothing": "frame(pack_end(b'\\x92\\xa6FORGED\\xc7\\x00\\x0c'))",
        "a mark with a payload": "frame(pack_end(b'\\x92\\xd4\\x0c1\\xa6FORGED'))",
        "a frame that is too long": "os.write(3, b'\\xff\\xff\\xff\\xff' + b'x' * 4096)",
        "a tagged value that is malformed": """
            for told in (b'["set",[[1]]]', b'["int",5]', b'["nothing",1]', b'[]', b'["date","x"]',
                         b'["bytes","%"]', b'["timedelta",[1e300]]', b'["range",[1,2,0]]',
                         b'["decimal","x"]', b'["complex",["a"]]', b'["dict",[1]]', b'["uuid",1]'):
                end(value=b'[{"$":%s},"FORGED"]' % told)
        """,
    },
    SAYS,
)

CALLS = [
    attack._replace(code=f"{attack.code}\nprint('DONE')")
    for attack in table(
        "host: any(call[0] == 'FORGED' for call in CALLS)",
        {
            "an id that was used": """
                call(1, b'["a"]')
                call(1, b'["FORGED"]')
            """,
            "an id out of order": "call(7, b'[\"FORGED\"]')",
            "an id that is negative": "call(-1, b'[\"FORGED\"]')",
            "an id that is true": 'frame(b\'[["c",true,"lookup",["FORGED"],{},1]]\')',
            "an id that is a fraction": 'frame(b\'[["c",1.0,"lookup",["FORGED"],{},1]]\')',
            "an id that is huge": "frame(b'[[\"c\",1' + b'0' * 4000 + b',\"lookup\",[\"FORGED\"],{},1]]')",
            "a tool that was not offered": "call(1, b'[\"FORGED\"]', tool=b'os.system')",
            "a tool that is a list": 'frame(b\'[["c",1,["lookup"],["FORGED"],{},1]]\')',
            "arguments that are an object": 'call(1, b\'{"key":"FORGED"}\')',
            "keywords that are a list": "call(1, b'[\"FORGED\"]', kwargs=b'[]')",
            "keywords that are no texts": """
                call(1, b'["FORGED"]', kwargs=b'{"$":["dict",[[1,2]]]}')
            """,
            "a call after the end": """
                frame(b'[["d",{"status":"success","value":null,"failure":null,"notes":[]}],'
                      b'["c",1,"lookup",["FORGED"],{},1]]')
            """,
            "a call that is too short": 'frame(b\'[["c",1,"lookup",["FORGED"]]]\')',
            "a call that is too long": 'frame(b\'[["c",1,"lookup",["FORGED"],{},1,2]]\')',
        },
        SAYS,
    )
]

_WIDE = "'\\U0001f600'.encode()"
FLOODS = table(
    "flood|mem|hang",
    {
        "a text of wide characters": f"""
            frame(b'[["o","' + {_WIDE} + b'a' * (16 * 2**20 - 100) + b'"]]')
        """,
        "an argument of wide characters": f"""
            call(1, b'["' + {_WIDE} + b'a' * (16 * 2**20 - 100) + b'"]')
        """,
        "arguments without end": """
            for number in range(1, 50): call(number, b'["%s"]' % (b'a' * (16 * 2**20 - 100)))
        """,
        "arguments of many parts": """
            part = b'["a",%s]' % b','.join([b'{"a":1}'] * 240_000)
            for number in range(1, 50): call(number, part)
        """,
        "texts that are empty": """
            while True: frame(b'[%s]' % b','.join([b'["o",""]'] * 100_000))
        """,
        "texts that are short": """
            part = b'[%s]' % b','.join(['["o","\\u20ac"]'.encode()] * 100_000)
            while True: frame(part)
        """,
        "frames that are empty": """
            while True: frame(b'[]' * 1 )
        """,
        "a value that is huge": "end(value=b'\"%s\"' % (b'v' * 15 * 2**20))",
        "a value of many parts": "end(value=b'[%s]' % b','.join([b'{\"a\":1}'] * 240_000))",
        "a message that is huge": """
            end(status=b'"error"', failure=failure(message='m' * 15 * 2**20))
        """,
        "a traceback that is huge": """
            end(status=b'"error"', failure=failure(traceback='m' * 15 * 2**20))
        """,
        "notes that are many": "end(notes=b'[%s]' % b','.join([b'\"%s\"' % (b'n' * 60)] * 200_000))",
        "violations that are many": """
            end(status=b'"refused"', failure=failure(violations=[[1, 'v' * 60]] * 100_000))
        """,
        "a frame that is never finished": """
            os.write(3, struct.pack('<I', 9 * 2**20))
            while True: os.write(3, b'[' * 65536)
        """,
        "a frame that comes slowly": """
            import time
            os.write(3, struct.pack('<I', 1000))
            while True:
                os.write(3, b'[')
                time.sleep(0.01)
        """,
        "a frame that is deep": "frame(b'\\x91' * 8_000_000)",
        "an array that says it is huge": "frame(b'\\xdd\\xff\\xff\\xff\\xff' + b'\\xc0' * 8_000_000)",
        "a map that says it is huge": "frame(b'\\xdf\\xff\\xff\\xff\\xff' + b'\\xa1k\\xc0' * 2_000_000)",
        "arrays that all say they are huge": "frame(b'\\xdd\\x00\\xff\\xff\\xff' * 1_000_000)",
        "arrays that are empty": "frame(pack_end(b'\\xdd\\x00\\x80\\x00\\x00' + b'\\x90' * 2**23))",
        "maps that are empty": "frame(pack_end(b'\\xdd\\x00\\x80\\x00\\x00' + b'\\x80' * 2**23))",
        "tuples that are empty": "frame(pack_end(b'\\xdc\\xff\\xff' + b'\\x91\\xc7\\x00\\x0b' * 65_535))",
        "a number of many digits": "call(1, b'[' + b'9' * 4_000_000 + b']')",
        "a large number in a tag": 'call(1, b\'[{"$":["int","0x%s"]}]\' % (b\'f\' * 8_000_000))',
        "answers that are not read": """
            for number in range(1, 51): call(number, b'["b"]')
            import time
            time.sleep(1000)
        """,
    },
    SAYS,
)

DEPTHS = table(
    "crash",
    {
        "a value that is deep": "frame(pack_end(b'\\x91' * 900 + b'\\x01'))",
        "a value that is deep at once": "frame(pack_end(b'\\x91' * 200_000 + b'\\x01'))",
        "an argument that is deep": "frame(b'\\x96\\xa1c\\x01\\xa6lookup\\x91' + b'\\x91' * 900 + b'\\x01\\x80\\x01')",
        "a value of deep tuples": "frame(pack_end(b'\\x92\\xc7\\x00\\x0b' * 300 + b'\\x01'))",
        "a value that is none": "end(value=b'[NaN,Infinity,-Infinity,1e999,-0.0]')",
        "a value that signals": 'end(value=b\'{"$":["decimal","sNaN"]}\')',
        "a line that is silent": "import time\nos.close(3)\ntime.sleep(1000)",
        "an end, and a worker that stays": """
            frame(b'[["d",{"status":"success","value":null,"failure":null,"notes":[]}]]')
            while True: pass
        """,
    },
    SAYS,
)

LINE: list[Attack] = [
    attack._replace(name=f"line: {attack.name}") for attack in (*FORGED, *CALLS, *FLOODS, *DEPTHS)
]
