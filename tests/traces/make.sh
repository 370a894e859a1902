#!/usr/bin/env bash
# Makes the captures of this folder anew: real clients and servers in network namespaces, joined by
# lan.py, seen by tcpdump on its mirror port. What is in each: README.md. Root, Debian or Ubuntu.
#
#   tests/traces/make.sh [FOLDER]     into FOLDER (default: this one), in about two minutes
#   ONLY='detect/*' tests/traces/make.sh FOLDER     those captures alone that match
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-$here}/split" "${1:-$here}/detect" && cd "${1:-$here}" && pwd)
work=$(mktemp -d)
chmod 755 "$work"
spaces=(lan cli srv gw far dim scan)

cleanup() {
    local space
    for space in "${spaces[@]}"; do
        if ip netns pids "weir-$space" >"$work/pids" 2>/dev/null; then
            xargs -r kill <"$work/pids" 2>/dev/null || true
            ip netns delete "weir-$space" || true
        fi
    done
    rm -rf "$work"
}
trap cleanup EXIT

packages() {
    local command package missing=()
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=("$package")
    done <<'END'
ip iproute2
ping iputils-ping
tcpdump tcpdump
editcap wireshark-common
nginx nginx-light
curl curl
openssl openssl
dnsmasq dnsmasq-base
dig bind9-dnsutils
sshd openssh-server
ssh openssh-client
vsftpd vsftpd
tnftp tnftp
nmap nmap
nc netcat-openbsd
python3 python3
END
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing: ${missing[*]}"
    apt-get update -qq
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# inside SPACE COMMAND...: runs there; what clients print and how they end is not of interest.
inside() { ip netns exec "weir-$1" "${@:2}"; }
say() { inside "$@" >>"$work/clients.log" 2>&1 </dev/null || true; }
daemon() { inside "$@" >>"$work/servers.log" 2>&1 </dev/null & }

# ---- the network -------------------------------------------------------------------------------

# lan PORT...: starts the switch; waits until its ports are in place.
lan() {
    : >"$work/lan"
    ip netns exec weir-lan python3 "$here/lan.py" "$@" >"$work/lan" & # itself, not a subshell: it is killed by id
    lan=$!
    until grep -q ready "$work/lan"; do kill -0 "$lan"; sleep 0.05; done
}

address() { # SPACE IPV4 IPV6 [IFACE]
    ip -n "weir-$1" address add "$2" dev "${4:-eth0}"
    ip -n "weir-$1" address add "$3" dev "${4:-eth0}" nodad
    ip -n "weir-$1" link set "${4:-eth0}" up
}

network() {
    local space
    for space in "${spaces[@]}"; do
        ip netns add "weir-$space"
        ip -n "weir-$space" link set lo up
    done
    inside lan sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    lan weir-cli,delay=1 weir-srv weir-gw weir-scan \
        weir-far,delay=15,loss_in=0.08,reorder=0.15,loss_out=0.08 weir-dim,blind=9 --mirror mirror
    address cli 10.77.0.2/24 fd77::2/64
    address srv 10.77.0.10/24 fd77::10/64
    address gw 10.77.0.1/24 fd77::1/64
    address scan 10.77.0.66/24 fd77::66/64
    address far 10.77.0.9/24 fd77::9/64
    address dim 10.77.0.8/24 fd77::8/64
    for space in cli scan; do ip -n "weir-$space" route add default via 10.77.0.1; done
    ip -n weir-scan address add 93.184.216.66/32 dev eth0
    ip -n weir-gw route add 93.184.216.66 via 10.77.0.66
    # Behind the gateway: a network where few addresses answer (with a RST), and one that is down.
    inside gw sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
    ip -n weir-gw route add blackhole 10.77.1.0/24
    ip -n weir-gw route add unreachable 10.78.0.0/24
    ip -n weir-gw route add 10.79.0.0/24 via 10.77.0.10
    for host in 5 12 19 26 33; do ip -n weir-gw address add "10.77.1.$host/32" dev lo; done
    sleep 2 # duplicate address detection of the link-local addresses
}

# ---- the servers ---------------------------------------------------------------------------------

certificates() {
    local d=$work/tls
    mkdir -p "$d" && cd "$d"
    openssl req -x509 -newkey rsa:2048 -nodes -days 7300 -keyout ca.key -out ca.pem \
        -subj '/C=DE/O=weir test/CN=weir test CA' 2>/dev/null
    leaf() { # NAME SUBJECT EXTENSIONS KEY-ARGUMENTS...
        openssl req -new -nodes -newkey "${@:4}" -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
        openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 7300 \
            -extfile <(printf '%b' "$3") -out "$1.pem" 2>/dev/null
        cat "$1.pem" ca.pem >"$1-chain.pem"
    }
    leaf server '/C=DE/O=weir test/CN=www.example.test' \
        'subjectAltName=DNS:www.example.test,DNS:*.example.test,IP:10.77.0.10\nbasicConstraints=CA:FALSE\n' \
        rsa:2048
    leaf client '/O=weir test/OU=people/CN=alice@example.test' \
        'extendedKeyUsage=clientAuth\nsubjectAltName=email:alice@example.test\n' \
        ec -pkeyopt ec_paramgen_curve:P-256
    cd "$here"
}

site() {
    local d=$work/www
    mkdir -p "$d"
    echo '<html><head><title>weir</title></head><body><p>Hello.</p></body></html>' >"$d/index.html"
    echo '<html><body>now: <!--#echo var="date_local" --></body></html>' >"$d/chunked.shtml"
    python3 - "$d" <<'END'
import gzip, json, pathlib, struct, sys, zlib
d = pathlib.Path(sys.argv[1])
d.joinpath("data.json").write_text(json.dumps([{"host": f"h{i}", "up": i % 3 == 0} for i in range(200)]))
chunk = lambda kind, data: struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(32)) for y in range(32))
d.joinpath("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack("!IIBBBBB", 32, 32, 8, 0, 0, 0, 0))
                                      + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
d.joinpath("notes.txt.gz").write_bytes(gzip.compress(b"some notes\n" * 50, mtime=0))
d.joinpath("paper.pdf").write_bytes(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
END
    printf 'alice:%s\n' "$(openssl passwd -apr1 secret)" >"$work/htpasswd"
    cat >"$work/nginx.conf" <<END
user root;
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 256; }
http {
    include /etc/nginx/mime.types;
    access_log off;
    types_hash_max_size 4096;
    root $work/www;
    gzip on; gzip_types application/json;
    ssi on;
    ssl_certificate $work/tls/server-chain.pem;
    ssl_certificate_key $work/tls/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {
        listen 80; listen [::]:80;
        location / { }
        location /form { return 200 "thank you\n"; }
        location /old { return 301 /index.html; }
        location /private { auth_basic "weir test"; auth_basic_user_file $work/htpasswd; return 200 "hello alice\n"; }
        location /broken { return 503; }
    }
    server { listen 443 ssl http2; listen [::]:443 ssl http2; server_name www.example.test; }
    server { listen 8443 ssl; ssl_client_certificate $work/tls/ca.pem; ssl_verify_client on; }
    server { listen 9443 ssl; ssl_protocols TLSv1.2; ssl_session_tickets off; ssl_session_cache shared:s:1m; }
}
END
}

keys() {
    local d=$work/ssh
    mkdir -p "$d" /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$d/host"
    ssh-keygen -q -t rsa -b 2048 -N '' -f "$d/host-rsa"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$d/user"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$d/stranger"
    cp "$d/user.pub" "$d/authorized"
    printf '#!/bin/sh\necho wrong\n' >"$d/askpass" && chmod 755 "$d/askpass"
    cat >"$d/config" <<END
Port 22
HostKey $d/host
HostKey $d/host-rsa
AuthorizedKeysFile $d/authorized
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
UsePAM no
PidFile none
END
}

files_() {
    local d=$work/ftp
    mkdir -p "$d/root/pub" "$d/empty"
    seq 2000 >"$d/root/pub/numbers.txt"
    cp "$work/www/picture.png" "$d/root/pub/"
    chmod 777 "$d/root/pub"
    cat "$work/tls/server.key" "$work/tls/server.pem" >"$d/server.pem"
    cat >"$d/config" <<END
listen=NO
listen_ipv6=YES
background=NO
anon_root=$d/root
secure_chroot_dir=$d/empty
write_enable=YES
anon_upload_enable=YES
anon_other_write_enable=YES
anon_umask=022
local_enable=YES
delay_failed_login=0
ssl_enable=YES
allow_anon_ssl=YES
rsa_cert_file=$d/server.pem
require_ssl_reuse=NO
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
END
}

servers() {
    certificates
    site
    keys
    files_
    daemon srv nginx -c "$work/nginx.conf" -e "$work/nginx.log"
    daemon srv openssl s_server -quiet -accept 4433 -www -tls1_3 -cert "$work/tls/server.pem" \
        -key "$work/tls/server.key" -cert_chain "$work/tls/ca.pem"
    daemon srv "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$work/ssh/config"
    daemon gw "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$work/ssh/config"
    daemon srv "$(command -v vsftpd || echo /usr/sbin/vsftpd)" "$work/ftp/config"
    daemon srv python3 "$here/peer.py" serve
    local texts=() i
    for i in {1..12}; do texts+=(--txt-record="big.example.test,$(printf "$i.%.0s" {1..70})"); done
    daemon srv dnsmasq -k -C /dev/null --pid-file= --user=root --no-resolv --no-hosts --edns-packet-max=4096 \
        --local=/test/ --local=/in-addr.arpa/ --bind-interfaces --listen-address=10.77.0.10,fd77::10 \
        --host-record=www.example.test,10.77.0.10,fd77::10 --host-record=mail.example.test,10.77.0.25 \
        --cname=web.example.test,www.example.test --mx-host=example.test,mail.example.test,10 \
        --txt-record=example.test,"v=spf1 mx -all" --local-ttl=300 \
        --srv-host=_xmpp-client._tcp.example.test,www.example.test,5222,0,5 "${texts[@]}"
    local tries=100
    until inside srv nc -z 10.77.0.10 443 && inside srv nc -z 10.77.0.10 22 && inside srv nc -z 10.77.0.10 53 &&
        inside srv nc -z 10.77.0.10 21 && inside gw nc -z 10.77.0.1 22 && inside srv nc -z 10.77.0.10 7002 && inside srv nc -z 10.77.0.10 4433; do
        [ $((tries -= 1)) -gt 0 ] || { cat "$work/servers.log" "$work/nginx.log"; exit 1; }
        sleep 0.1
    done 2>/dev/null
}

# ---- the traffic ---------------------------------------------------------------------------------

http() {
    local www=http://10.77.0.10 get=(say cli curl -sS -m 10)
    "${get[@]}" $www/ $www/missing $www/picture.png $www/paper.pdf $www/notes.txt.gz # one connection
    "${get[@]}" --compressed $www/data.json
    "${get[@]}" $www/chunked.shtml
    "${get[@]}" -I $www/data.json
    "${get[@]}" -d 'name=alice&city=Ulm' -A 'Mozilla/5.0 (weir test)' -e $www/index.html -b 'id=7' $www/form
    head -c 3000 /dev/zero | tr '\0' x >"$work/body"
    "${get[@]}" -H 'Expect: 100-continue' --data-binary "@$work/body" $www/form
    "${get[@]}" -X PUT -H 'Transfer-Encoding: chunked' --data-binary "@$work/body" $www/form
    "${get[@]}" -H 'X-Forwarded-For: 192.0.2.7' -H 'Via: 1.1 proxy.example.test' $www/
    "${get[@]}" -x 10.77.0.10:80 http://www.example.test/ # absolute URI, as to a proxy
    "${get[@]}" $www/private
    "${get[@]}" -u alice:secret $www/private
    "${get[@]}" -0 $www/data.json
    "${get[@]}" -L $www/old
    "${get[@]}" $www/broken
    "${get[@]}" -r 100-199 $www/data.json
    "${get[@]}" -H 'Host: www.example.test' 'http://[fd77::10]/?q=1%27+or+1%3D1&x=%3Cb%3E'
    # Two requests in one packet.
    inside cli bash -c 'exec 3<>/dev/tcp/10.77.0.10/80
        printf "GET /paper.pdf HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n" >&3
        timeout 5 cat <&3 >/dev/null' || true
}

dns() {
    local server
    for server in 10.77.0.10 fd77::10; do
        local ask=(say cli dig +time=1 +tries=1 "@$server")
        "${ask[@]}" www.example.test A
        "${ask[@]}" www.example.test AAAA
        "${ask[@]}" web.example.test A # through a CNAME
        "${ask[@]}" example.test MX
        "${ask[@]}" example.test TXT +noedns
        "${ask[@]}" _xmpp-client._tcp.example.test SRV
        "${ask[@]}" -x 10.77.0.10
        "${ask[@]}" -x fd77::10
        "${ask[@]}" absent.example.test A
        "${ask[@]}" example.com A # refused: the server asks nobody
        "${ask[@]}" version.bind CH TXT
        "${ask[@]}" www.example.test A +tcp
        "${ask[@]}" big.example.test TXT +bufsize=512          # truncated, asked again over TCP
        "${ask[@]}" big.example.test TXT +bufsize=4096 +dnssec # larger than one packet: IP fragments
        "${ask[@]}" +tcp +keepopen www.example.test A absent.example.test A # one connection
    done
    say cli dig +time=1 +tries=2 @10.77.1.53 lost.example.test A # nobody there
}

tls() {
    local d=$work/tls
    local web=(say cli curl -sS -m 10 --cacert "$d/ca.pem" --resolve '*:443:10.77.0.10' --resolve '*:8443:10.77.0.10')
    local s=(say cli timeout 5 openssl s_client -CAfile "$d/ca.pem" -servername www.example.test)
    "${web[@]}" --http2 https://www.example.test/
    "${web[@]}" --http1.1 --tlsv1.3 https://www.example.test/data.json
    "${web[@]}" --http1.1 --tls-max 1.2 https://www.example.test/
    "${web[@]}" --tls-max 1.2 --cert "$d/client.pem" --key "$d/client.key" https://www.example.test:8443/
    "${web[@]}" --tlsv1.3 --cert "$d/client.pem" --key "$d/client.key" https://www.example.test:8443/
    say cli curl -sS -m 10 --resolve '*:443:10.77.0.10' https://www.example.test/ # unknown CA: the client's alert
    # Resumption: TLS 1.2 by session id, 1.2 by ticket, 1.3 by PSK. A request, so that 1.3 sends its tickets.
    resume() {
        inside cli bash -c '{ printf "GET / HTTP/1.0\r\n\r\n"; sleep 0.3; } | "$@"' - "${s[@]:2}" \
            "$@" >>"$work/clients.log" 2>&1 || true
    }
    local one
    for one in '10.77.0.10:9443 -tls1_2' '10.77.0.10:443 -tls1_2' '10.77.0.10:4433 -tls1_3' '[fd77::10]:443 -tls1_3'; do
        # shellcheck disable=SC2086
        resume -connect $one -sess_out "$work/session"
        # shellcheck disable=SC2086
        resume -connect $one -sess_in "$work/session"
    done
    "${s[@]}" -connect 10.77.0.10:4433 -tls1_2                               # no common version: the server's alert
    "${s[@]}" -connect 10.77.0.10:9443 -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA # no common cipher
    "${s[@]}" -connect 10.77.0.10:9443 -tls1_2 -alpn h2,http/1.1
    "${s[@]}" -connect 10.77.0.10:80                                         # TLS to a server of plain HTTP
}

ssh_() {
    local d=$work/ssh
    local log_in=(say cli ssh -F /dev/null -o StrictHostKeyChecking=no -o "UserKnownHostsFile=$d/known" \
        -o IdentitiesOnly=yes -o ConnectTimeout=5)
    "${log_in[@]}" -i "$d/user" root@10.77.0.10 'uname; seq 500'
    "${log_in[@]}" -i "$d/user" -c aes128-ctr -m hmac-sha2-256 -o HostKeyAlgorithms=rsa-sha2-256 root@fd77::10 true
    "${log_in[@]}" -i "$d/stranger" -o BatchMode=yes root@10.77.0.10 true # denied
    SSH_ASKPASS=$d/askpass SSH_ASKPASS_REQUIRE=force DISPLAY=: \
        "${log_in[@]}" -o PubkeyAuthentication=no root@10.77.0.10 true # three wrong passwords
    say cli bash -c 'timeout 0.3 cat </dev/tcp/10.77.0.10/22'          # only the banner
}

ftp_() {
    local get=(say cli curl -sS -m 10) root=ftp://10.77.0.10
    "${get[@]}" $root/pub/                                     # a listing, EPSV
    "${get[@]}" $root/pub/numbers.txt $root/pub/picture.png $root/pub/missing
    "${get[@]}" --disable-epsv $root/pub/numbers.txt           # PASV
    "${get[@]}" -P - $root/pub/numbers.txt                     # EPRT
    "${get[@]}" -P - --disable-eprt $root/pub/numbers.txt      # PORT
    "${get[@]}" -T "$work/body" $root/pub/upload
    "${get[@]}" -Q '-DELE upload' -I $root/pub/upload
    "${get[@]}" "ftp://[fd77::10]/pub/numbers.txt"
    "${get[@]}" -u alice:wrong $root/pub/numbers.txt           # 530
    "${get[@]}" --ssl-reqd -k $root/pub/numbers.txt            # AUTH SSL, which no RFC has
    say cli python3 -c 'if True:
        from ftplib import FTP_TLS
        ftp = FTP_TLS("10.77.0.10") # AUTH TLS
        ftp.login()
        ftp.prot_p()
        ftp.retrbinary("RETR pub/numbers.txt", lambda data: None)
        ftp.quit()'
    # One session that walks about.
    inside cli tnftp -n -v 10.77.0.10 >>"$work/clients.log" 2>&1 <<'END' || true
user anonymous alice@example.test
pwd
cd pub
size numbers.txt
get numbers.txt /dev/null
cdup
get pub/picture.png /dev/null
quit
END
}

# Somebody who has a list of passwords: each connection tries two, then the next begins. So many connections to two servers
# in turn, two at a time.
ssh_guesses() ( # in a shell of its own, whose children are its own
    local d=$work/ssh i
    local try=(say scan env "SSH_ASKPASS=$d/askpass" SSH_ASKPASS_REQUIRE=force DISPLAY=: ssh -F /dev/null
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=password
        -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=2 -o ConnectTimeout=5 "${@:2}")
    for i in $(seq "$1"); do
        "${try[@]}" "root@10.77.0.$((i % 2 ? 10 : 1))" true &
        ((i % 2)) || wait
    done
    wait
)
ftp_guesses() {
    local i
    for i in $(seq "$1"); do say scan curl -sS -m 5 -u "admin:pass$i" ftp://10.77.0.10/; done
}
guess() { ssh_guesses 34; ftp_guesses 22; }

scan() {
    # connect() to two ports of forty addresses; .5 .12 .19 .26 and .33 refuse, the others say nothing.
    say scan nmap -sT -Pn -n -T4 --max-retries 0 --disable-arp-ping -p 22,23 10.77.1.1-40
}

# What detectors find, each with so much of it that it is found or is not. From the Internet comes 93.184.216.66.
addresses() { say scan nmap -sT -Pn -n -T4 --max-retries 0 -p 22 "10.77.1.1-$1"; }
ports() { say scan nmap -sT -Pn -n -T4 --max-retries 0 -p "101-$((100 + $1))" 10.77.0.10; }
pairs() ( # a host and a port of its own each
    for n in $(seq "$1"); do
        say scan nc -s 93.184.216.66 -w 1 -z "10.77.1.$n" $((1000 + n)) &
        sleep 0.1
    done
    wait
)
injections() {
    say cli curl -sS -m 20 -I "http://10.77.0.10/?id=[1-$1]%27+or+1%3D1"
    say cli curl -sS -m 20 -I 'http://10.77.0.10/?q=select+a+flight+[1-10]'
}

vertical_scan() {
    say scan nmap -sT -Pn -n -T4 --max-retries 0 -p 1-40 10.77.0.10
}

icmp() {
    say cli ping -c 4 -i 0.2 10.77.0.10
    say cli ping -c 3 -i 0.2 -s 4000 10.77.0.10 # fragments
    say cli ping -6 -c 3 -i 0.2 fd77::10
    say cli ping -6 -c 2 -i 0.2 -s 4000 fd77::10
    say cli ping -c 2 -i 0.2 -W 1 10.77.1.77  # no answer
    say cli ping -c 2 -i 0.2 -W 1 10.78.0.1   # the gateway says: unreachable
    say cli ping -c 1 -t 1 -W 1 10.79.0.1     # the gateway says: time exceeded
    say cli bash -c 'echo nobody listens here >/dev/udp/10.77.0.10/9' # port unreachable
    say cli bash -c 'echo nobody listens here >/dev/udp/fd77::10/9'
}

peers() {
    local play=(say cli python3 "$here/peer.py")
    "${play[@]}" echo 10.77.0.10
    "${play[@]}" echo fd77::10 1000
    "${play[@]}" echo 10.77.0.10 5000 # fragments
    "${play[@]}" half 10.77.0.10
    "${play[@]}" reset 10.77.0.10
    "${play[@]}" abort 10.77.0.10
    say cli nc -w 1 -z 10.77.0.10 81    # refused
    say cli nc -w 1 -z fd77::10 81
    say cli nc -w 1 -z 10.77.1.99 80    # no answer
    say cli nc -w 1 -z 10.78.0.1 80     # unreachable
}

transfers() {
    say far python3 "$here/peer.py" upload 10.77.0.10 1300   # losses and reordering before the monitor
    say far python3 "$here/peer.py" download 10.77.0.10 1300 # losses after it
    say dim python3 "$here/peer.py" upload 10.77.0.10 500    # the monitor misses packets
}

crowd() { # many small flows from several hosts
    local host
    printf 'www.example.test A\nhost%d.example.test A\n' {1..60} >"$work/names"
    for host in cli dim scan; do
        say "$host" dig +time=1 +tries=1 +noedns @10.77.0.10 -f "$work/names" &
        say "$host" curl -sS -m 10 -H 'Connection: close' "http://10.77.0.10/?page=[1-15]" &
    done
    wait
}
mixed() {
    local one parts=()
    say cli python3 "$here/peer.py" idle 10.77.0.10 & # still open when the capture ends
    for one in http dns tls ssh_ scan vertical_scan icmp peers transfers crowd; do "$one" & parts+=($!); done
    wait "${parts[@]}"
}

few() { # a little of everything, for the captures that are about link types
    say cli ping -c 2 -i 0.2 10.77.0.10
    say cli ping -6 -c 2 -i 0.2 fd77::10
    say cli dig +time=1 +tries=1 @10.77.0.10 www.example.test A
    say cli curl -sS -m 5 http://10.77.0.10/
    say cli curl -sS -m 5 'http://[fd77::10]/data.json'
}

# ---- the captures --------------------------------------------------------------------------------

# capture FILE SPACE TCPDUMP-ARGUMENTS -- TRAFFIC...
capture() {
    local file=$out/$1 space=$2 args=()
    # shellcheck disable=SC2053
    [[ $1 == ${ONLY:-*} ]] || return 0
    shift 2
    while [ "$1" != -- ]; do args+=("$1"); shift; done
    for one in cli srv gw far dim scan; do ip -n "weir-$one" neigh flush all; done
    : >"$work/tcpdump"
    ip netns exec "weir-$space" tcpdump -n -U -s 0 -Z root "${args[@]}" -w "$file" 2>"$work/tcpdump" &
    local pid=$!
    until grep -q 'listening on' "$work/tcpdump"; do kill -0 "$pid"; sleep 0.05; done
    "${@:2}"
    sleep 1.5 # tcpdump gets packets from the kernel once a second
    kill -INT "$pid"
    wait "$pid" || true
    grep -q '^0 packets dropped by kernel' "$work/tcpdump" || { cat "$work/tcpdump"; exit 1; }
    echo "${file##*/}: $(grep -o '^[0-9]* packets captured' "$work/tcpdump")"
}

# A second, smaller network, for what the first cannot show.
replace_lan() {
    kill "$lan"
    wait "$lan" || true
    lan "$@"
}

packages
network
servers
capture http.pcap lan -i mirror -- http
capture dns.pcap lan -i mirror -- dns
capture tls.pcap lan -i mirror -- tls
capture ssh.pcap lan -i mirror -- ssh_
head -c 3000 /dev/zero | tr '\0' x >"$work/body"
capture ftp.pcap lan -i mirror -- ftp_
capture guess.pcap lan -i mirror -- guess
both() { scan & few; say cli curl -sS http://10.77.0.10/data.json; wait $!; }
capture scan.pcap lan -i mirror -- both
capture mixed.pcap lan -i mirror -- mixed
capture detect/address-scan.pcap lan -i mirror -- addresses 30
capture detect/address-scan-not.pcap lan -i mirror -- addresses 24
capture detect/port-scan.pcap lan -i mirror -- ports 20
capture detect/port-scan-not.pcap lan -i mirror -- ports 14
capture detect/random-scan.pcap lan -i mirror -- pairs 30
capture detect/random-scan-not.pcap lan -i mirror -- pairs 24
capture detect/slow-scan.pcap lan -i mirror -- pairs 60
capture detect/slow-scan-not.pcap lan -i mirror -- pairs 49
capture detect/sql-injection.pcap lan -i mirror -- injections 55
capture detect/sql-injection-not.pcap lan -i mirror -- injections 49
# With keys that are short: what is exchanged first is most of such a connection.
short=(-o KexAlgorithms=curve25519-sha256 -o HostKeyAlgorithms=ssh-ed25519 -o Ciphers=aes128-ctr -o MACs=hmac-sha2-256)
capture detect/ssh-guessing-not.pcap lan -i mirror -- ssh_guesses 29 "${short[@]}"
capture detect/ftp-bruteforcing-not.pcap lan -i mirror -- ftp_guesses 19
loopback_too() { few; say cli ping -c 1 127.0.0.1; say cli nc -z -w 1 127.0.0.1 9; }
capture sll2.pcap cli -i any -- loopback_too
capture sll.pcap cli -i any -y LINUX_SLL -- loopback_too

replace_lan weir-cli,vlan=10 weir-srv,vlan=10 weir-far,vlan=100.200 weir-gw,vlan=100.200 --mirror mirror
address cli 10.77.0.2/24 fd77::2/64
address srv 10.77.0.10/24 fd77::10/64
address far 10.77.0.9/24 fd77::9/64
address gw 10.77.0.1/24 fd77::1/64
sleep 2
tagged() {
    few
    say far ping -c 2 -i 0.2 10.77.0.1
    say far ping -c 1 -s 3000 10.77.0.1
    say far nc -w 1 -z 10.77.0.1 80
    say far nc -6 -w 1 -z fd77::1 80
    say far bash -c 'echo hello >/dev/udp/10.77.0.1/9'
}
capture vlan.pcap lan -i mirror -- tagged

replace_lan weir-cli weir-srv --tun
address cli 10.77.0.2/24 fd77::2/64 tun0
address srv 10.77.0.10/24 fd77::10/64 tun0
sleep 1
capture raw.pcap cli -i tun0 -- few

# Nobody waits that long: six seconds become ten hours.
if [[ detect/slow-scan.pcap == ${ONLY:-*} ]]; then
    for one in slow-scan slow-scan-not; do
        python3 "$here/split.py" stretch "$out/detect/$one.pcap" "$out/detect/$one.pcap" 6000
    done
fi
[ -z "${ONLY:-}" ] || exit 0
python3 "$here/split.py" null "$out/dns.pcap" "$out/null.pcap"
python3 "$here/split.py" cut "$out/mixed.pcap" "$out/truncated.pcap" 0.25
python3 "$here/split.py" split "$out/mixed.pcap" "$out/split" 3
editcap -F pcapng "$out/mixed.pcap" "$out/mixed.pcapng"

du -ch "$out"/*.pcap* "$out"/split/*.pcap | tail -1
