#!/usr/bin/env python3
"""A phone of pjsua2 (PyPI: pjsua2-python) that does what its standard input says, a line an action, and prints what
happens, a JSON object a line. No sound card is needed: a null device keeps the time.

    phone.py '{"user": "alice", "password": "…", "domain": "sip.test", "proxy": "sip:10.9.0.1:5060",
               "address": "10.9.0.1", "port": 5300, "rtp": 30000, "trace": "FILE"}'

Actions; CALL is the number of an event "call", the first call of the phone being 0:
    call URI            calls                            answer CALL CODE     answers with any code
    hangup CALL         ends a call, or refuses it       hangup-all           ends them all
    hold CALL           a=sendonly by re-INVITE          resume CALL          a=sendrecv again
    hold-update CALL    the same by UPDATE               resume-update CALL   likewise
    update CALL         an UPDATE with the same session  reinvite CALL        a re-INVITE with it
    transfer CALL URI   blind, by REFER
    attended CALL OTHER the far end of CALL is to take the place of ours in OTHER: REFER with Replaces
    info CALL DIGITS    DTMF by INFO                     send CALL METHOD TYPE BODY
    quit                unregisters and ends

Events: "message" (way, text: each SIP message as it passed the socket), "call" (call, state, code, call_id), "media"
(call, status, direction), "transfer" (code, final: what NOTIFY said), "asked" (refer_to: somebody transfers us),
"replaced" (call: somebody takes its place), "dtmf" (digit, method), "registered" (code), "done" (action, error: what
pjsua2 said of it)."""
import json
import os
import re
import select
import sys
import time

import pjsua2 as pj

SETTINGS = {"port": 5300, "rtp": 30000, "transport": "udp", "prack": False, "timer": 1, "expires": 1800, "min_se": 90,
            "register": True, "auto": 0, "plays": None, "records": None}
SETTINGS.update(json.loads(sys.argv[1]))
MESSAGE = re.compile(r"(TX|RX) \d+ bytes .*?:\r?\n(.*?)\r?\n?--end msg--", re.S)
MEDIA = ["none", "active", "local-hold", "remote-hold", "error"]
DIRECTIONS = {pj.PJMEDIA_DIR_NONE: "inactive", pj.PJMEDIA_DIR_ENCODING: "sendonly", pj.PJMEDIA_DIR_DECODING: "recvonly",
              pj.PJMEDIA_DIR_ENCODING_DECODING: "sendrecv"}


def tell(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def trace(way, text):
    """A line for each message, by which the wires of several phones can be put together."""
    if "trace" in SETTINGS:
        audio = re.findall(r"^(m=|a=(?:sendrecv|sendonly|recvonly|inactive))", text, re.M)
        cseq = re.search(r"^CSeq: *(.*)$", text, re.M)
        line = f"{time.time():.4f} {SETTINGS['user']:6} {way:8} {text.splitlines()[0]}  ({cseq and cseq[1]}) {audio[-1:]}"
        with open(SETTINGS["trace"], "a") as file:
            file.write(line + "\n")


class Log(pj.LogWriter):
    def write(self, entry):
        found = MESSAGE.search(entry.msg)
        if found:
            way, text = "sent" if found[1] == "TX" else "received", found[2].replace("\r\n", "\n")
            tell("message", way=way, text=text)
            trace(way, text)


class Call(pj.Call):
    def __init__(self, account, number=pj.PJSUA_INVALID_ID):
        super().__init__(account, number)
        self.number = len(CALLS)
        CALLS.append(self)
        # Where pjsua keeps it, once it does.
        self.place = number

    def own(self):
        """Who owns the call of this callback. What pjsua2 begins for a REFER it gives to the call that was asked."""
        place = self.getId()
        if self.place in (pj.PJSUA_INVALID_ID, place):
            self.place = place
            return self
        child = Call(ACCOUNT, place)
        # Looking it up puts the number right that pjsua2 has changed in the object.
        pj.Call.lookup(self.place)
        return child

    def onCallState(self, prm):
        self.own().tell_state()

    def tell_state(self):
        info = self.getInfo()
        tell("call", call=self.number, state=info.stateText, code=info.lastStatusCode, call_id=info.callIdString,
             remote=info.remoteUri)

    def onCallMediaState(self, prm):
        owner = self.own()
        # The list lives no longer than what it is a part of.
        info = owner.getInfo()
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                tell("media", call=owner.number, status=MEDIA[media.status], direction=DIRECTIONS.get(media.dir, "?"))
                if SETTINGS["plays"] and media.status in (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD):
                    # Its port in the bridge is a new one after each change.
                    audio = owner.getAudioMedia(media.index)
                    SOUNDS[0].startTransmit(audio)
                    audio.startTransmit(SOUNDS[1])

    def onCallTransferRequest(self, prm):
        # pjsua2 calls by itself, after this.
        tell("asked", call=self.number, refer_to=prm.dstUri)

    def onCallReplaced(self, prm):
        tell("replaced", call=self.number)
        Call(ACCOUNT, prm.newCallId).tell_state()

    def onCallTransferStatus(self, prm):
        tell("transfer", call=self.number, code=prm.statusCode, final=bool(prm.finalNotify))

    def onDtmfDigit(self, prm):
        tell("dtmf", call=self.number, digit=prm.digit,
             method="INFO" if prm.method == pj.PJSUA_DTMF_METHOD_SIP_INFO else "RFC 4733")


class Account(pj.Account):
    def onRegState(self, prm):
        tell("registered", code=prm.code, expires=prm.expiration)

    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        tell("call", call=call.number, state="INCOMING", code=0, call_id=call.getInfo().callIdString,
             remote=call.getInfo().remoteUri)
        if SETTINGS["auto"]:
            LATER.append(lambda: call.answer(parameters(SETTINGS["auto"])))


def parameters(code=0):
    prm = pj.CallOpParam(True)
    prm.opt.videoCount = 0
    prm.opt.textCount = 0
    prm.statusCode = code
    return prm


def unhold():
    prm = parameters()
    prm.opt.flag = pj.PJSUA_CALL_UNHOLD
    return prm


def directed(direction):
    prm = parameters()
    prm.opt.flag = pj.PJSUA_CALL_SET_MEDIA_DIR
    prm.opt.mediaDir.append(direction)
    return prm


def info(call, digits):
    prm = pj.CallSendDtmfParam()
    prm.digits, prm.method = digits, pj.PJSUA_DTMF_METHOD_SIP_INFO
    call.sendDtmf(prm)


def send(call, method, kind, body):
    prm = pj.CallSendRequestParam()
    prm.method = method
    prm.txOption.contentType, prm.txOption.msgBody = kind, body.replace("\\r\\n", "\r\n")
    call.sendRequest(prm)


def act(words):
    """Does one action; False ends the phone."""
    verb, rest = words[0], words[1:]
    if verb == "quit":
        return False
    if verb == "call":
        Call(ACCOUNT).makeCall(rest[0], parameters())
        return True
    if verb == "hangup-all":
        ENDPOINT.hangupAllCalls()
        return True
    call, rest = CALLS[int(rest[0])], rest[1:]
    if verb == "answer":
        call.answer(parameters(int(rest[0])))
    elif verb == "hangup":
        call.hangup(parameters(int(rest[0]) if rest else 0))
    elif verb == "hold":
        call.setHold(parameters())
    elif verb == "hold-update":
        call.update(directed(pj.PJMEDIA_DIR_ENCODING))
    elif verb == "resume-update":
        call.update(directed(pj.PJMEDIA_DIR_ENCODING_DECODING))
    elif verb == "resume":
        call.reinvite(unhold())
    elif verb == "reinvite":
        call.reinvite(parameters())
    elif verb == "update":
        call.update(parameters())
    elif verb == "transfer":
        call.xfer(rest[0], parameters())
    elif verb == "attended":
        call.xferReplaces(CALLS[int(rest[0])], parameters())
    elif verb == "info":
        info(call, rest[0])
    elif verb == "send":
        send(call, rest[0], rest[1], " ".join(rest[2:]))
    else:
        raise ValueError("there is no such action")
    return True


def endpoint():
    end = pj.Endpoint()
    end.libCreate()
    config = pj.EpConfig()
    config.logConfig.level, config.logConfig.consoleLevel = 5, 5
    config.logConfig.writer = LOG
    config.uaConfig.userAgent = "pjsua2"
    # All callbacks come from our own loop.
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.medConfig.noVad, config.medConfig.ecTailLen = True, 0
    end.libInit(config)
    transport = pj.TransportConfig()
    transport.port = SETTINGS["port"]
    transport.boundAddress = transport.publicAddress = SETTINGS["address"]
    kind = pj.PJSIP_TRANSPORT_TCP if SETTINGS["transport"] == "tcp" else pj.PJSIP_TRANSPORT_UDP
    end.transportCreate(kind, transport)
    end.libStart()
    end.audDevManager().setNullDev()
    return end


def account():
    user, domain = SETTINGS["user"], SETTINGS["domain"]
    config = pj.AccountConfig()
    config.idUri = f"sip:{user}@{domain}"
    config.regConfig.registrarUri = f"sip:{domain}"
    config.regConfig.registerOnAdd = SETTINGS["register"]
    config.regConfig.timeoutSec = 300
    config.sipConfig.proxies.append(f"{SETTINGS['proxy']};transport={SETTINGS['transport']};lr")
    config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, SETTINGS["password"]))
    config.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY if SETTINGS["prack"] else pj.PJSUA_100REL_OPTIONAL
    config.callConfig.timerUse = SETTINGS["timer"]
    config.callConfig.timerSessExpiresSec, config.callConfig.timerMinSESec = SETTINGS["expires"], SETTINGS["min_se"]
    config.natConfig.sdpNatRewriteUse = config.natConfig.contactRewriteUse = 0
    config.natConfig.sipOutboundUse = 0
    config.natConfig.sipStunUse = config.natConfig.mediaStunUse = pj.PJSUA_STUN_USE_DISABLED
    media = config.mediaConfig
    media.transportConfig.boundAddress = media.transportConfig.publicAddress = SETTINGS["address"]
    media.transportConfig.port = SETTINGS["rtp"]
    made = Account()
    made.create(config)
    return made


def sounds():
    """What it plays into its calls, and where what it hears in them is kept."""
    if not SETTINGS["plays"]:
        return []
    player, recorder = pj.AudioMediaPlayer(), pj.AudioMediaRecorder()
    player.createPlayer(SETTINGS["plays"])
    recorder.createRecorder(SETTINGS["records"])
    return [player, recorder]


CALLS, LATER, LOG = [], [], Log()
ENDPOINT = endpoint()
SOUNDS = sounds()
ACCOUNT = account()
tell("started")
going, pending = True, b""
os.set_blocking(0, False)
while going:
    ENDPOINT.libHandleEvents(5)
    while LATER:
        LATER.pop(0)()
    if not select.select([0], [], [], 0)[0]:
        continue
    read = os.read(0, 65536)
    if not read:
        break
    pending += read
    while going and b"\n" in pending:
        line, pending = pending.split(b"\n", 1)
        words = line.decode().split()
        if not words:
            continue
        error = None
        try:
            going = act(words)
        except Exception as failure:
            error = str(failure).replace("\n", " ")[:300]
        tell("done", action=" ".join(words), error=error)
if SETTINGS["register"]:
    ACCOUNT.setRegistration(False)
for _ in range(40):
    ENDPOINT.libHandleEvents(5)
# The recording gets its length.
SOUNDS.clear()
tell("ended")
# libDestroy tears down what Python still holds.
os._exit(0)
