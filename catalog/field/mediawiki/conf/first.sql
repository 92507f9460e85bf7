FLUSH PRIVILEGES;
DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');
FLUSH PRIVILEGES;
ALTER USER root@localhost IDENTIFIED BY '{{secret:root-password}}';
CREATE DATABASE mediawiki CHARACTER SET binary;
CREATE USER mediawiki@'%' IDENTIFIED BY '{{secret:db-password}}';
GRANT ALL PRIVILEGES ON mediawiki.* TO mediawiki@'%';
