#!/usr/bin/env bash
# Makes the stores that the TLS tests read. Needs keytool and openssl; the results are kept in the repository, so
# that the tests need neither. Every password is `secret`.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kt() { keytool -storepass secret -keypass secret -noprompt "$@" 2>/dev/null; }
authority() { # NAME
    kt -genkeypair -alias ca -keystore "$work/$1.p12" -storetype PKCS12 -keyalg EC -groupname secp256r1 \
        -dname "CN=$1" -validity 36500 -ext bc:c
    kt -exportcert -rfc -alias ca -keystore "$work/$1.p12" -file "$work/$1.pem"
}
signed() { # NAME AUTHORITY DN SAN...
    local name=$1 authority=$2 dn=$3 san=${4:-}
    kt -genkeypair -alias key -keystore "$work/$name.p12" -storetype PKCS12 -keyalg EC -groupname secp256r1 \
        -dname "$dn" -validity 36500
    kt -certreq -alias key -keystore "$work/$name.p12" -file "$work/$name.csr"
    kt -gencert -rfc -alias ca -keystore "$work/$authority.p12" -infile "$work/$name.csr" -validity 36500 \
        ${san:+-ext "san=$san"} -outfile "$work/$name.pem"
    kt -importcert -alias ca -keystore "$work/$name.p12" -file "$work/$authority.pem"
    cat "$work/$name.pem" "$work/$authority.pem" >"$work/$name.chain"
    kt -importcert -alias key -keystore "$work/$name.p12" -file "$work/$name.chain"
    kt -delete -alias ca -keystore "$work/$name.p12"
    cp "$work/$name.p12" "$name.p12"
}
authority zoo-authority
authority other-authority
signed server zoo-authority 'CN=zk-server' 'dns:localhost,ip:127.0.0.1'
signed elsewhere zoo-authority 'CN=zk-elsewhere' 'dns:zk9.example.org'
signed client zoo-authority 'CN=zk-client,OU=Menagerie,O="Zoo, Inc.",C=CH'
signed stranger other-authority 'CN=zk-stranger'
rm -f server.jks trust.jks trust.p12
keytool -importkeystore -srckeystore server.p12 -srcstorepass secret -destkeystore server.jks -deststoretype JKS \
    -deststorepass secret -destkeypass secret -noprompt 2>/dev/null
openssl pkcs12 -in server.p12 -passin pass:secret -nodes 2>/dev/null | sed -n '/-----BEGIN/,/-----END/p' >server.pem
kt -importcert -alias ca -keystore trust.jks -storetype JKS -file "$work/zoo-authority.pem"
kt -importcert -alias ca -keystore trust.p12 -storetype PKCS12 -file "$work/zoo-authority.pem"
cp "$work/zoo-authority.pem" trust.pem
{
    openssl pkcs8 -topk8 -in server.pem -passout pass:secret -v2 aes-256-cbc
    sed -n '/BEGIN CERT/,/END CERT/p' server.pem
} >server-encrypted.pem
# Certificates of X.509's first version: what `openssl x509 -req` of 1.x and 3.0 makes of a request.
openssl req -new -x509 -newkey rsa:2048 -nodes -keyout "$work/one.key" -subj /CN=one-authority -days 36500 \
    -out one-ca.pem 2>/dev/null
first_version() { # NAME KIND...
    local name=$1
    shift
    openssl req -new -newkey "$@" -nodes -keyout "$work/$name.key" -subj "/CN=$name" -out "$work/$name.csr" 2>/dev/null
    openssl x509 -req -CA one-ca.pem -CAkey "$work/one.key" -CAcreateserial -CAserial "$work/one.srl" -days 36500 \
        -sha256 -in "$work/$name.csr" -out "$work/$name.crt" 2>/dev/null
    openssl x509 -noout -text -in "$work/$name.crt" | grep -q 'Version: 1 ' || { echo "$name is of another version"; exit 1; }
    cat "$work/$name.crt" "$work/$name.key" >"$name.pem"
}
# Somebody who is no authority, and what he signs all the same.
openssl req -new -x509 -newkey rsa:2048 -nodes -keyout "$work/owner.key" -subj /CN=owner -days 36500 \
    -addext basicConstraints=CA:FALSE -addext subjectAltName=DNS:localhost -out "$work/owner.crt" 2>/dev/null
cat "$work/owner.crt" "$work/owner.key" >owner.pem
openssl req -new -newkey rsa:2048 -nodes -keyout "$work/by.key" -subj /CN=by-owner -out "$work/by.csr" 2>/dev/null
echo 'subjectAltName=DNS:localhost' >"$work/by.ext"
for version in 1 3; do
    openssl x509 -req -CA "$work/owner.crt" -CAkey "$work/owner.key" -CAcreateserial -CAserial "$work/by.srl" -days 36500 \
        -sha256 -in "$work/by.csr" -out "$work/by.crt" $([ $version = 1 ] || echo "-extfile $work/by.ext") 2>/dev/null
    cat "$work/by.crt" "$work/by.key" >"by-owner-$version.pem"
done
first_version one-rsa rsa:2048
first_version one-ec ec -pkeyopt ec_paramgen_curve:prime256v1
{
    openssl pkcs8 -topk8 -in server.pem -passout pass:secret -v1 PBE-SHA1-3DES
    sed -n '/BEGIN CERT/,/END CERT/p' server.pem
} >server-encrypted-v1.pem
